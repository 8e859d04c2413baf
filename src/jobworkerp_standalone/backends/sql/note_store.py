"""Notes of jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    String,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from jobworkerp_standalone.backends import refusals
from jobworkerp_standalone.backends.sql.ownership import StorePart
from jobworkerp_standalone.backends.sql.tables import OF_RUNS_AS_A_WHOLE, job, worker_instance
from jobworkerp_standalone.backends.sql.tables import job_note as table
from jobworkerp_standalone.backends.sql.writes import RowMissing, Step
from jobworkerp_standalone.jobs.model import Job
from jobworkerp_standalone.jobs.runs import OF_JOB, run_of_job
from jobworkerp_standalone.ports.notes import HELD, Note, NotedRow

_insert = insert(table)
_remove = delete(table).where(table.c.id == bindparam("note"))
forget_run = delete(table).where(table.c.run == bindparam("of_run"))
_count_anew = (
    update(job).where(job.c.id == bindparam("row"), job.c.fence == bindparam("held_under")).values(deliveries=0)
)
_begun = select(literal(OF_JOB) + cast(job.c.id, String))
_expire = delete(table).where(table.c.id < bindparam("before"), table.c.run.not_in(_begun))
_told = select(table).where(OF_RUNS_AS_A_WHOLE, table.c.key == bindparam("told"))
_job_id = cast(func.substr(table.c.run, len(OF_JOB) + 1), BigInteger)
_of_free_rows = (
    _told.add_columns(job.c.id.label("job_id"), job.c.run_after_ms, job.c.retried)
    .join(job, (job.c.id == _job_id) & table.c.run.startswith(OF_JOB))
    .where(job.c.owner_id.is_(None), job.c.channel.in_(bindparam("channels", expanding=True)))
)
_columns: Final[Mapping[str, Column[Any]]] = {
    "note": table.c.id,
    "of_run": table.c.run,
    "named": table.c.key,
    "text": table.c.data,
}
_insert_if_free = insert(table).from_select(
    list(_columns.values()),
    select(*(bindparam(name, type_=column.type) for name, column in _columns.items())).where(
        job.c.id == bindparam("row"), or_(job.c.owner_id.is_(None), job.c.owner_id == bindparam("owner"))
    ),
)


class SqlNoteStore(StorePart):
    """``ports.NoteStore``."""

    @property
    def notes_in_memory(self) -> int | None:
        """None: they are on disk."""
        return None

    async def notes(self, run: str) -> Sequence[Note]:
        """Return the notes of a run, oldest first."""
        query = select(table).where(table.c.run == run).order_by(table.c.id)
        return await self._database.read(lambda connection: [_note_from(row) for row in connection.execute(query)])

    async def latest_notes(self, key: str, limit: int) -> Sequence[tuple[str, Note]]:
        """Return the latest notes of a key with the runs that they are of, the latest first."""
        query = _told.order_by(table.c.id.desc()).limit(limit)
        return await self._database.read(
            lambda connection: [(_text(row.run), _note_from(row)) for row in connection.execute(query, {"told": key})]
        )

    async def notes_of_free_rows(self, key: str, channels: Collection[str]) -> Sequence[NotedRow]:
        """Return the notes of a key of jobs in these channels whose rows nobody holds."""
        values = {"told": key, "channels": list(channels)}
        return await self._database.read(
            lambda connection: [
                NotedRow(row.job_id, row.run_after_ms, row.retried, _note_from(row))
                for row in connection.execute(_of_free_rows, values)
            ]
        )

    async def change_notes(
        self, run: str, added: Sequence[Note], removed: Sequence[int], got_on: Job | None = None
    ) -> None:
        """Add and remove notes of a run, all or nothing; on disk when this returns.

        ``got_on``: a job that this process runs, whose deliveries count anew by that.
        """
        steps = [Step(_remove, {"note": note_id}) for note_id in removed]
        steps += [insertion(run, note) for note in added]
        if got_on is not None:
            steps.append(Step(_count_anew, {"row": got_on.id, "held_under": got_on.fence}))
        await self._database.write(*steps)

    async def change_notes_of_row(self, job_id: int, added: Sequence[Note], removed: Sequence[int]) -> None:
        """Do so for the run of a job's own name, if its row is there and no other process holds it.

        Raises:
            LeaseLost: that is not so; nothing was written.
        """
        of_row = {"of_run": run_of_job(job_id), "row": job_id, "owner": self._owner.id}
        steps = [Step(_remove, {"note": note_id}) for note_id in removed]
        steps += [
            Step(_insert_if_free, {**of_row, "note": note.id, "named": note.key, "text": note.data}, one_row=True)
            for note in added
        ]
        try:
            await self._database.write(*steps)
        except RowMissing as error:
            raise refusals.no_row_to_note(job_id) from error

    async def forget_notes(self, *runs: str) -> None:
        """Remove all notes of some runs, all or nothing. May be lost in a power cut."""
        await self._database.write(*(Step(forget_run, {"of_run": run}) for run in runs), durable=False)

    async def hold_run(self, run: str, note_id: int) -> bool:
        """Hold a run for this process by a note with this id; False where another living process holds it."""
        await self.reclaim_dead_owners()
        own_id = self._owner.id
        held = {"id": note_id, "run": run, "key": HELD, "data": str(own_id).encode()}

        def take(connection: Connection) -> bool:
            if _held_by_others(connection, own_id, [run]):
                return False
            connection.execute(delete(table).where(table.c.run == run, table.c.key == HELD))
            connection.execute(_insert, held)
            return True

        return await self._database.transact(take)

    async def held_runs(self, among: Collection[str]) -> Collection[str]:
        """Return those of some runs that other living processes hold."""
        await self.reclaim_dead_owners()
        own_id = self._owner.id
        return await self._database.read(lambda connection: _held_by_others(connection, own_id, among))

    async def expire_notes(self, before_id: int) -> None:
        """Remove notes with an id below this one, but those of jobs that have a row. May be lost in a power cut."""
        await self._database.write(Step(_expire, {"before": before_id}), durable=False)


def insertion(run: str, note: Note) -> Step:
    """Return the step that adds a note to a run."""
    return Step(_insert, {"id": note.id, "run": run, "key": note.key, "data": note.data})


def _note_from(row: Any) -> Note:
    """Return the note of a row. What is damaged becomes a text that means nothing to whoever reads it."""
    return Note(row.id, _text(row.key), row.data if type(row.data) is bytes else _text(row.data).encode())


def _text(value: Any) -> str:
    if type(value) is bytes:
        return value.decode("utf-8", "replace")
    return str(value)


def _held_by_others(connection: Connection, own_id: int, among: Collection[str]) -> set[str]:
    """Return those of some runs that processes hold which are still registered."""
    held = select(table.c.run, table.c.data).where(table.c.run.in_(among), table.c.key == HELD)
    rows = connection.execute(held).all()
    holders = {row.run: number for row in rows if (number := _owner(row.data)) not in (None, own_id)}
    if not holders:
        return set()
    known = select(worker_instance.c.id).where(worker_instance.c.id.in_(set(holders.values())))
    there = set(connection.scalars(known))
    return {run for run, owner in holders.items() if owner in there}


def _owner(data: Any) -> int | None:
    """Return the owner that a note names; None where it is damaged."""
    return int(data) if type(data) is bytes and data.isdigit() else None
