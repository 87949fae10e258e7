"""Small definitions that are right, to be made wrong in one place each."""

from __future__ import annotations

SAGA = """\
saga: visit
version: 1
start:
  topic: guests.arrived
  when: event.size > 0
  key: event.id
input:
  type: object
  required: [guest]
deadline: 5m
steps:
  book:
    call: seats.book
    with: {guest: "${ input.guest }", note: "for ${ input.guest }"}
    undo: seats.free
  pay:
    call: money.take
    with: {seat: "${ steps.book.number }"}
    pivot: true
  greet:
    call: seats.greet
output: {seat: "${ steps.book.number }"}
"""

ATOMIC = """\
atomic: swap
version: 2
branches:
  left:
    call: a.take
    with: {n: "${ input.n }"}
  right:
    call: b.give
    with: {n: "${ input.n }"}
output: {left: "${ branches.left.balance }"}
"""
