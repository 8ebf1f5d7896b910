"""Settings of the archive link: `ListenerConfig`, and what makes an AE title valid."""

from __future__ import annotations

from dataclasses import dataclass

MAX_AE_TITLE = 16
MAX_PORT = 65535
DAY_S = 24 * 60 * 60.0


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """Who may send what to whom, and when a study counts as complete."""

    ae_title: str
    """Our own application entity title."""
    port: int
    """TCP port; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address to listen on: this machine alone unless it is opened to others."""
    calling_ae_titles: tuple[str, ...] = ()
    """Senders that are let in; empty lets in all."""
    any_called_ae_title: bool = False
    """Whether senders may call us by another title than ours."""
    idle_s: float = 30.0
    """A study to which no image came for so long is complete."""
    on_release: bool = False
    """Whether a study is complete too when the association that sent it is released."""
    keep_s: float = 7 * DAY_S
    """How long the images of a study that is done stay in the spool."""
    first_retry_s: float = 10.0
    """Wait after a first failed sending; every further one doubles it."""

    def __post_init__(self) -> None:
        for title in (self.ae_title, *self.calling_ae_titles):
            check_ae_title(title)
        if not 0 <= self.port <= MAX_PORT:
            raise ValueError(f"port: expected 0 to {MAX_PORT}, got {self.port}")
        for name in ("idle_s", "keep_s", "first_retry_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected at least 0, got {getattr(self, name)}")


def check_ae_title(title: str) -> None:
    """Refuse what the standard does not allow as an application entity title (PS3.5 section 6.2, VR AE).

    Raises
    ------
    ValueError
        Which shows the title.
    """
    is_plain = title.isascii() and title.isprintable() and "\\" not in title
    if not (is_plain and title == title.strip() and 1 <= len(title) <= MAX_AE_TITLE):
        raise ValueError(
            f"AE title: expected 1 to {MAX_AE_TITLE} ASCII characters, no backslash and no space at its ends, "
            f"got {title!r}"
        )
