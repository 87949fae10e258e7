"""Real Kafka, Postgres and Jaeger on this machine, without Docker."""
