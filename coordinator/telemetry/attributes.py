"""Every name that a trace or a metric shows, once.

Those of messaging are OpenTelemetry's (https://opentelemetry.io/docs/specs/semconv/messaging/),
still in development there; ours begin with ``twofold.``.
"""

from __future__ import annotations

from typing import Final

TXN_ID: Final = "twofold.txn.id"
TXN_KEY: Final = "twofold.txn.key"
DEFINITION: Final = "twofold.definition.name"
VERSION: Final = "twofold.definition.version"
KIND: Final = "twofold.kind"
STEP: Final = "twofold.step.id"
BRANCH: Final = "twofold.branch.id"
ATTEMPT: Final = "twofold.attempt"
RESULT: Final = "twofold.result"
REASON: Final = "twofold.reason"
DECISION: Final = "twofold.decision"
OUTCOME: Final = "twofold.outcome"
EPOCH: Final = "twofold.epoch"
ACTOR: Final = "twofold.actor"

ERROR_TYPE: Final = "error.type"
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION: Final = "messaging.destination.name"
MESSAGING_CONVERSATION: Final = "messaging.message.conversation_id"

SERVICE: Final = "twofold-coordinator"
