"""The same prompts sent to the same API, with the same limits, by different libraries: what L3 compares.

Lives here: a module per contestant, each with one function `answer_all`, as a user of that library would write it from
its own docs; and `prompts`, what all of them send.

Must not know: how they are measured.
"""
