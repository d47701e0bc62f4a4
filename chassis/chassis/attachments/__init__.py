"""Files on records: taken in and sent out part by part, kept in a folder or in S3, known by rows in the service's database.

A service switches them on in a few lines. `install_attachments()` stands in a migration, once a database, and::

    # leads/rpc/papers.py
    SUBJECTS = Subjects(Subject(LEADS))

    # service.py
    faces=[..., attachment_face("kehu.leads.v1.AttachmentService", SUBJECTS)],
    publishes={..., AttachmentCreated: events.AttachmentCreated, AttachmentDeleted: events.AttachmentDeleted},
    jobs={..., **ATTACHMENT_JOBS}, commands={..., **ATTACHMENT_COMMANDS},
    history: {"attachment": attachments_kept(SUBJECTS)}

What becomes of them when records are merged or emptied: `chassis.papers`.

Bytes come before the row that speaks of them, and go after it. In between, a job knows their key: so a process may die
anywhere, and no bytes stay that nobody knows.
"""
