"""The CI recipes of docs/ci.md as files and scripts: what a reader copies is what is linted and run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_BLOCK = re.compile(r"^```yaml ?(?P<label>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Recipes:
    """The parsed blocks.

    Attributes:
        github: The whole workflow.
        own: The jobs that take the place of those of the same name.
        gitlab: The whole pipeline.
        texts: Each block as it stands, by its label.
    """

    github: dict[str, Any]
    own: dict[str, Any]
    gitlab: dict[str, Any]
    texts: dict[str, str]

    @classmethod
    def read(cls, page: Path) -> Recipes:
        """The blocks of a page.

        Raises:
            KeyError: one of the three is not there.
        """
        texts = {match["label"]: match["text"] for match in _BLOCK.finditer(page.read_text(encoding="utf-8"))}
        github, own, gitlab = (yaml.safe_load(texts[label]) for label in ("", "own", "gitlab"))
        return cls(github, own, gitlab, texts)

    def step(self, job: str, name: str) -> str:
        """The script of a named step of the workflow; of the own job where the name has ``own.`` before it."""
        jobs = self.own if job.startswith("own.") else self.github["jobs"]
        (found,) = (step for step in jobs[job.removeprefix("own.")]["steps"] if step.get("name") == name)
        return str(found["run"])

    def scripts(self) -> Iterator[tuple[str, str]]:
        """Where each script stands, and its text."""
        for jobs in (self.github["jobs"], self.own):
            for name, job in jobs.items():
                for step in job["steps"]:
                    if "run" in step:
                        yield f"{name}: {step['name']}", step["run"]
        for name, job in self.gitlab.items():
            if isinstance(job, dict):
                yield f"GitLab, {name}", "\n".join(job["script"])

    def write(self, folder: Path) -> dict[str, list[Path]]:
        """Files to lint, by kind: both workflows, with the own job put in, and the pipeline.

        The first workflow is the page's text, so that a linter's lines and comments are those of the page.
        """
        workflows = folder / ".github" / "workflows"
        workflows.mkdir(parents=True)
        first, second, pipeline = workflows / "kernels.yml", workflows / "own.yml", folder / ".gitlab-ci.yml"
        first.write_text(self.texts[""])
        # YAML 1.1 reads the key "on" as true.
        merged = {("on" if key is True else key): value for key, value in self.github.items()}
        merged["jobs"] = {**merged["jobs"], **self.own}
        second.write_text(yaml.safe_dump(merged, sort_keys=False))
        pipeline.write_text(self.texts["gitlab"])
        return {"github": [first, second], "gitlab": [pipeline]}
