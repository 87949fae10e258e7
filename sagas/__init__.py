"""The definition language: YAML in, checked definitions out.

model.py         what a definition is, once it is known to be right
document.py      what people write
loader.py        from the one to the other, with a place for every error
expressions.py   CEL; the only module that imports it
templates.py     values with `${ … }` in their texts
fallback.py      does an undo have a value although its step's reply is lost?
lint.py          what would end half-done is refused here
hints.py         what to write instead
references.py    an `input` schema is checked by itself, and comes to an end
"""
