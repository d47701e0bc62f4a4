"""Notes on records: text, who wrote it, whom it mentions, and whether it stands out.

A service switches them on in a few lines. `install_notes()` stands in a migration, once a database, and::

    # leads/rpc/papers.py
    SUBJECTS = Subjects(Subject(LEADS))

    # service.py
    faces=[..., note_face("kehu.leads.v1.NoteService", SUBJECTS)],
    publishes={..., NoteCreated: events.NoteCreated, NoteUpdated: events.NoteUpdated, NoteDeleted: events.NoteDeleted},
    history: {"note": notes_kept(SUBJECTS)}

What becomes of them when records are merged or emptied: `chassis.papers`.
"""
