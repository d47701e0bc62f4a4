"""Duplicates of all records of a kind: looked for in the background, told as pairs, merged or set aside for good.

A service switches it on in a few lines. `install_duplicate_sweeps()` stands in a migration, once a database, and::

    # rpc/duplicate_sweeps.py
    DUPLICATES = DuplicateSweeps(
        Swept(
            LEADS, compared_by, keys, compare, writable=..., cards=...,     # as one record's duplicates are found
            progressed=DuplicateSweepProgressed,
        ),
    )

    # service.py
    faces=[..., sweeps_face("kehu.leads.v1.DuplicateSweepService", DUPLICATES),
           pairs_face("kehu.leads.v1.DuplicatePairService", DUPLICATES)],
    jobs={**DUPLICATES.jobs, ...},
    publishes={..., DuplicateSweepProgressed: events.DuplicateSweepProgressed},

    # where records are merged, unmerged and erased, and where duplicates of one record are found
    await pairs_merged(tx, "lead", merge.id, survivor.id, merged_ids)
    await pairs_unmerged(tx, merge.id)
    await pairs_erased(tx, "lead", lead.id)
    apart = await set_apart(database, who, "lead", lead.id, [one.id for one in found])
"""
