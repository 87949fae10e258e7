"""What the decision log says, beside what participants' databases really hold.

facts.py     what is known of both, and nothing else
reading.py   reads it, in an order in which a healthy system looks healthy
findings.py  the kinds of disagreement: what each means, and what is safe to do
compare.py   facts → findings, purely; branches.py and steps.py are its two halves
doubt.py     what is prepared, and who will end it
command.py   `twofold audit` and `twofold indoubt list`
"""
