"""The services that the demo runs.

shop.py     stock, payments, shipping: a saga that can be undone
bank.py     bank-a, bank-b: a transfer that happens in both or in neither
counter.py  counter-a, counter-b, counter-c: as little as a step can be
"""
