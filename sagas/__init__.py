"""The definition language: YAML in, checked definitions out.

model.py         what a definition is, once it is known to be right
document.py      what people write
loader.py        from the one to the other, with a place for every error
expressions.py   CEL; the only module that imports it
lint.py          what would end half-done is refused here
"""
