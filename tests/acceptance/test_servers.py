"""Kafka and Postgres are killed under load, and come back."""

from __future__ import annotations

import asyncio

from tests.acceptance.company import Company
from tests.acceptance.test_promises import start_all

LOAD = 20


async def test_kafka_is_killed_and_comes_back(company: Company) -> None:
    """Nothing is decided meanwhile, and nothing is lost: every process goes on by itself."""
    await start_all(company, coordinators=2)
    await company.publish("kafka-before", LOAD)
    kafka = company.stack.kafka
    await asyncio.to_thread(kafka.kill)
    await asyncio.sleep(1)
    await asyncio.to_thread(kafka.restart)
    await company.renew_client()
    await company.publish("kafka-after", LOAD)

    await company.expect_all_well()


async def test_postgres_is_killed_and_comes_back(company: Company) -> None:
    """The log and all participants' databases are gone at once, in the middle of it all."""
    await start_all(company, coordinators=2)
    await company.publish("postgres-before", LOAD)
    postgres = company.stack.postgres
    await asyncio.to_thread(postgres.kill)
    await company.publish("postgres-down", LOAD)
    await asyncio.sleep(1)
    await asyncio.to_thread(postgres.restart)
    await company.publish("postgres-after", LOAD)

    await company.expect_all_well()
