"""The kit's statements that have names written out, since they travel with others."""

from __future__ import annotations

import re
from typing import Final

from participants import guard

_AT_WORK: Final = re.escape(guard.AT_WORK)
BEGIN_STEPS: Final = re.compile(rf"BEGIN; SET LOCAL lock_timeout = (\d+); {_AT_WORK}")
BEGIN_BRANCH: Final = re.compile(
    rf"BEGIN; SET LOCAL lock_timeout = (\d+); {_AT_WORK};"
    r" INSERT INTO twofold\.branch \(gid, branch, status\)"
    r" VALUES \('([^']+)', '([^']+)', 'committed'\) ON CONFLICT DO NOTHING"
)
NAMED: Final = re.compile(
    rf"({re.escape(guard.DONE)}; PREPARE TRANSACTION|COMMIT PREPARED|ROLLBACK PREPARED) '([^']+)'"
)
KEEP: Final = re.compile(
    r"UPDATE twofold\.branch SET reply = \$\$([^$]*)\$\$"
    r" WHERE gid = '([^']+)' AND branch = '([^']+)'; (.+)"
)
