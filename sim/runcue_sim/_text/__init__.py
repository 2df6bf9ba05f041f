"""What is said to people: figures, tables, errors of theirs in one line, and whose fault an error is.

Must not know: runs, work units, the command line.

Open `figures` first.
"""
