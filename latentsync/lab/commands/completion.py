"""Print the script that lets a shell complete `latentsync`.

    source <(latentsync completion bash)        in ~/.bashrc
    source <(latentsync completion zsh)         in ~/.zshrc, after compinit
    latentsync completion fish | source         in ~/.config/fish/config.fish

The Tab key then completes commands, their options, and for `run` and `train` groups, choices, keys and values.
"""

from collections.abc import Sequence

from latentsync.lab.console import ArgumentParser, command, show

SCRIPTS = {
    "bash": """\
_latentsync() {
    local line="${COMP_LINE:0:COMP_POINT}" candidate cut=""
    local word="${line##* }"
    # bash replaces only the part after the last =, where that sign separates words
    if [[ $COMP_WORDBREAKS == *=* && $word == *=* ]]; then cut="${word%"${word##*=}"}"; fi
    COMPREPLY=()
    while IFS= read -r candidate; do
        [[ $candidate == *[=./,] ]] || candidate="$candidate "
        COMPREPLY+=("${candidate#"$cut"}")
    done < <("${COMP_WORDS[0]}" completion bash --line "$line" 2>/dev/null)
}
complete -o nospace -o bashdefault -o default -F _latentsync latentsync
""",
    "zsh": """\
_latentsync() {
    local candidate
    local -a whole parts
    for candidate in ${(f)"$($words[1] completion zsh --line "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)"}; do
        if [[ $candidate == *[=./,] ]]; then parts+=("$candidate"); else whole+=("$candidate"); fi
    done
    (( $#parts )) && compadd -Q -S '' -a parts
    (( $#whole )) && compadd -Q -a whole
    (( $#parts + $#whole )) || _files
}
compdef _latentsync latentsync
""",
    "fish": """\
complete -c latentsync -f -a '(latentsync completion fish --line (commandline -cp))'
""",
}
HYDRAS = ("run", "train")  # commands whose arguments Hydra reads
OWN_OPTIONS = ("benchmark",)  # commands whose overrides are others than those of `run`


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync completion", description=__doc__)
    parser.add_argument("shell", choices=tuple(SCRIPTS), help=f"one of {', '.join(SCRIPTS)}")
    parser.add_argument("--line", help="print what may follow this command line; the script calls it")
    return parser


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    if args.line is None:
        print(SCRIPTS[args.shell], end="")
        return
    for candidate in completions(args.line):
        show(candidate)


def completions(line: str) -> list[str]:
    """What the last word of a command line may become, sorted. The line begins with the program."""
    words = line.split()[1:]
    if not line or line[-1].isspace():
        words.append("")
    if not words:
        return []
    from latentsync.lab import commands

    *names, word = words
    if not names:
        candidates = [*commands.names(), "--help", "--version"]
        return sorted(name for name in candidates if name.startswith(word))
    return _of_command(names[0].replace("_", "-"), words[1:])


def _of_command(name: str, words: Sequence[str]) -> list[str]:
    from latentsync.lab import commands

    if name not in commands.names():
        return []
    if name in HYDRAS:
        return _of_hydra(name, words)
    parser = commands.module(name).parser()
    candidates = parser.completions(words)
    if not candidates and parser.takes("overrides") and not words[-1].startswith("-"):
        return _of_hydra(name if name in OWN_OPTIONS else "run", words[-1:])
    return candidates


def _of_hydra(name: str, words: Sequence[str]) -> list[str]:
    from latentsync.lab.options import completion
    from latentsync.lab.options.compose import RUN

    if name == "run":
        return completion.completions(words, RUN)
    if name == "benchmark":
        from latentsync.lab.jobs.benchmark.options import BENCHMARK

        return completion.completions(words, BENCHMARK)
    from latentsync.lab.training.options import TRAIN

    return completion.completions(words, TRAIN)
