"""The one error users meet: what was given, what is allowed, what to do, and which subject."""

from __future__ import annotations


class InputError(ValueError):
    """An input that cannot be used, told so that the user can mend it.

    Args:
        what: the fault, in one clause ("the lesion mask lies on another grid").
        given: what was found ("shape (64, 64, 10)").
        allowed: what would have been accepted ("shape (96, 96, 30), as FLAIR has").
        cure: what the user can do about it.
        subject: the subject or study concerned, where there is one.
        file: the file concerned, where there is one.
    """

    def __init__(
        self, what: str, *, given: object, allowed: object, cure: str, subject: str | None = None, file: object = None
    ) -> None:
        self.what, self.given, self.allowed, self.cure = what, str(given), str(allowed), cure
        self.subject, self.file = subject, None if file is None else str(file)
        super().__init__(str(self))

    def __str__(self) -> str:
        where = [f"subject {self.subject}" if self.subject else "", f"file {self.file}" if self.file else ""]
        prefix = ", ".join(part for part in where if part)
        head = f"{prefix}: {self.what}" if prefix else self.what
        return f"{head}. Given: {self.given}. Allowed: {self.allowed}. Cure: {self.cure}"

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling between worker processes.
        return _rebuild, (self.what, self.given, self.allowed, self.cure, self.subject, self.file)


def _rebuild(what: str, given: str, allowed: str, cure: str, subject: str | None, file: str | None) -> InputError:
    return InputError(what, given=given, allowed=allowed, cure=cure, subject=subject, file=file)
