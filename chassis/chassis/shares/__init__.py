"""Records that are shared with a person or a team: to read or to write, until a time or until that is ended.

A service switches it on for a kind of record in a few lines::

    class Lead(Owned, Shareable, table=True): ...        # with "shared_with" among history_listed, see `share_lines`
    install_shares("leads")                              # in a migration

The record's row has its shares in `shared_with`; so they follow whatever becomes of the row, and `covers` asks nobody. The table
`shares` is their index, by which lists find what is shared with somebody: it is written in the transaction that writes the row,
and has nothing of a deleted record. What other tables keep of such a record is found by it, too: `Shares`, in
`chassis.visibility`.

Who has no right to a kind of record at all gets none by a share. A share is no right to delete a record, to give it to another
owner or to share it: what asks for that, asks `covers` without shares. One that is over gives nothing, and is forgotten when
the record is shared the next time.
"""
