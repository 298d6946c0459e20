"""Mutated input at four levels, and what must hold of whatever comes of it.

Stated first, and checked by `checks`:

1. Nothing but documented errors: an exit status of `ExitCode`, one line on standard error, never a traceback.
2. A file under 1 MB is read within a second of CPU time.
3. The same input gives the same output, octet by octet.
4. The same record whatever the cut of the segments, but for numbers of frames and packets, and for the anomalies that
   are about segments (`ABOUT_SEGMENTS`). This is so of what SOCKS says in its turns, or ahead of them, from its
   beginning on. Of octets that no turn explains, or where some are missing, segments are all that shows where a message
   begins and what a side had heard when it spoke: there the cut may tell.
5. The same output whatever the batches, with forms or without, and with the analyser put away between batches.
6. The output of every sink is valid in its format.
7. No control character, ANSI sequence, bidirectional mark or newline from the wire in any text, and no cell that a
   spreadsheet takes for a formula.
8. What was read as a password is in no output unless it was asked for, and asking for it changes nothing else.

    python -m tests.fuzz                                             every level for a minute
    python -m tests.fuzz --level dialogue --inputs 1000000 --seed 7
    python -m tests.fuzz --level dialogue --seed 7 --only 4711       one input again, shown
    python -m tests.fuzz.guided --level file -- -max_total_time=600  guided by coverage (the extra `fuzz`)

Levels: `dialogue` (messages lost, repeated, reordered, interleaved, pipelined), `payload` (octets within messages),
`packet` (octets of frames, from the link layer on), `file` (octets of capture files, through the commands). An input is
made from its level, the seed and its number alone.
"""
