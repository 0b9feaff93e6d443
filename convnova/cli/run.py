"""The command that runs the workflow: run."""

import argparse
import os
import re
import sys
from pathlib import Path

from convnova.bundle import BUNDLE, bundled
from convnova.cli.common import command
from convnova.errors import ConvNovaError
from convnova.files import read_yaml


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add it to the command line."""
    run = command(commands, "run", run_workflow, "run the workflow in this folder, by snakemake")
    run.is_verbatim = True
    run.add_argument("--cores", metavar="N", help="how many to use, or all")
    run.add_argument("--configfile", nargs="+", metavar="FILE", help="what is run; default: the embedded run")
    run.add_argument("--profile", metavar="NAME", help="slurm, or another of the package's or of your own")
    run.add_argument("words", nargs="*", metavar="...", help="whatever else snakemake takes, such as -n or a result")


def run_workflow(options: argparse.Namespace) -> None:
    """`convnova run`: become snakemake, whose jobs find this command."""
    here = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}"}
    # -P: files of this folder are no Python modules of Snakemake's
    os.execve(sys.executable, [sys.executable, "-P", "-m", "snakemake", *snakemake_words(options.words)], environment)


def snakemake_words(words: list[str]) -> list[str]:
    """The words of a user, with the package's own Snakefile, and its profile and config where the folder has none.

    Raises:
        ConvNovaError: a config file that is missing or no YAML, or a result in its place.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--profile", default="")
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    asked, name = parser.parse_known_args(words)[0], "config.yaml"
    for config in asked.configfile:  # Snakemake shows tracebacks, and would read a result that follows as a config
        if re.match("results/|resources/", config):
            raise ConvNovaError(f"{config}: expected a config after --configfile; name results before it, or after --")
        read_yaml(bundled(config))
    profile, configs, added = bundled(asked.profile), asked.configfile, ["--snakefile", str(BUNDLE / "Snakefile")]
    if (profile / name).is_file():
        forms = {asked.profile: str(profile), f"--profile={asked.profile}": f"--profile={profile}"}
        words = [forms.get(word, word) for word in words]
        configs = configs or re.findall(r"^configfile: (\S+)", (profile / name).read_text(), re.MULTILINE)
    if any(bundled(config) != Path(config) for config in configs):
        added += ["--configfile", *(str(bundled(config)) for config in configs)]  # the last one counts
    end = words.index("--") if "--" in words else len(words)
    return [*words[:end], *added, *words[end:]]
