"""What is said to people: figures, tables, errors of theirs in one line, and whose fault an error is.

Must not know: runs, works, the command line.

Open `figures` first.
"""
