"""The language that coordinators and participants speak over Kafka.

messages.py   what is said
envelope.py   how it looks as a Kafka record: CloudEvents, binary mode
topics.py     where it is said
gids.py       the names of transactions
kafka.py      the only module that imports aiokafka
"""
