"""Notes of jobs."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import String, bindparam, cast, delete, insert, literal, select

from jobworkerp_standalone.backends.sql.ownership import StorePart
from jobworkerp_standalone.backends.sql.tables import job
from jobworkerp_standalone.backends.sql.tables import job_note as table
from jobworkerp_standalone.backends.sql.writes import Step
from jobworkerp_standalone.ports import Note

_insert = insert(table)
_remove = delete(table).where(table.c.id == bindparam("note"))
_forget = delete(table).where(table.c.run == bindparam("of_run"))
_begun = select(literal("job:") + cast(job.c.id, String))
_expire = delete(table).where(table.c.id < bindparam("before"), table.c.run.not_in(_begun))


class SqlNoteStore(StorePart):
    """``ports.NoteStore``."""

    async def notes(self, run: str) -> Sequence[Note]:
        """Return the notes of a run, oldest first."""
        query = select(table).where(table.c.run == run).order_by(table.c.id)
        return await self._database.read(
            lambda connection: [Note(row.id, row.key, row.data) for row in connection.execute(query)]
        )

    async def latest_notes(self, key: str, limit: int) -> Sequence[tuple[str, Note]]:
        """Return the latest notes of a key with the runs that they are of, the latest first."""
        query = select(table).where(table.c.key == key).order_by(table.c.id.desc()).limit(limit)
        return await self._database.read(
            lambda connection: [(row.run, Note(row.id, row.key, row.data)) for row in connection.execute(query)]
        )

    async def change_notes(self, run: str, added: Sequence[Note], removed: Sequence[int]) -> None:
        """Add and remove notes of a run, all or nothing; on disk when this returns."""
        steps = [Step(_remove, {"note": note_id}) for note_id in removed]
        steps += [Step(_insert, {"id": note.id, "run": run, "key": note.key, "data": note.data}) for note in added]
        await self._database.write(*steps)

    async def forget_notes(self, run: str) -> None:
        """Remove all notes of a run. May be lost in a power cut."""
        await self._database.write(Step(_forget, {"of_run": run}), durable=False)

    async def expire_notes(self, before_id: int) -> None:
        """Remove notes with an id below this one, but those of jobs that have a row."""
        await self._database.write(Step(_expire, {"before": before_id}), durable=False)
