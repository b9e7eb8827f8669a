"""Terminal styles of the tones that verdicts have."""

from __future__ import annotations

from autotune_cli.comparing.verdicts import Tone, for_every_tone

STYLES = for_every_tone({
    Tone.FAILED: "bold red",
    Tone.WORSE: "red",
    Tone.BETTER: "green",
    Tone.NEWS: "magenta",
    Tone.UNCLEAR: "yellow",
    Tone.PLAIN: "",
    Tone.FAINT: "dim",
})  # fmt: skip
