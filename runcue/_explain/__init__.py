"""Why a work unit is where it is. Reads only.

Must not know: how to change anything.

Open first: `reasons`, what there can be; found by `why`, put in words by `phrases` and `wording`, given to users as
`answers`.
"""
