"""What each command takes, and how it is explained.

What a command does is in a module of its own, imported when it is called:
clients of Kafka and Postgres take longer to load than `--help` may take.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from coordinator.cli.errors import NO
from coordinator.cli.output import Output

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="A TOML file of settings.", envvar="TWOFOLD_CONFIG"),
]
Definitions = Annotated[
    list[Path] | None,
    typer.Option(
        "--definitions",
        help="A definition file, or a folder of them; may be repeated.",
        exists=True,
    ),
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print.")]


def check(
    files: Annotated[
        list[Path],
        typer.Argument(help="Definition files, or folders of them.", metavar="FILES…", exists=True),
    ],
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Say what is wrong with definitions, and where.

    Exit code 1 if anything is.

    Example: twofold check definitions/ extra.yaml
    """
    from coordinator.cli import checking

    _answer(ok=checking.check(config, files, output))


def simulate(
    file: Annotated[
        Path, typer.Argument(help="A definition file.", exists=True, dir_okay=False, readable=True)
    ],
    given: Annotated[
        str | None,
        typer.Option("--input", help="The input, as JSON. Else one is made up that fits."),
    ] = None,
    results: Annotated[
        str | None,
        typer.Option("--results", help='What steps return, as JSON: {"step": {…}}.'),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run a definition against everything that can go wrong at each of its parts.

    The coordinator's own rules decide; participants follow a script, and time
    is virtual. Exit code 1 if any end is half done without being parked, or if
    the definition is wrong.

    Example: twofold simulate definitions/place-order.yaml
    """
    from coordinator.cli import simulating

    _answer(ok=simulating.simulate(file, given, results, output))


def test(
    files: Annotated[
        list[Path],
        typer.Argument(help="Scenario files, or folders of them.", metavar="FILES…", exists=True),
    ],
    output: OutputOption = Output.TEXT,  # noqa: PT028  # a command, and no test
) -> None:
    """Play scenarios of definitions, and compare what comes of them with what is expected.

    A scenario file names its definition, and says for each scenario what the
    participants answer and how it is to end. The coordinator's own rules
    decide, and time is virtual. Exit code 1 if anything is otherwise.

    Example: twofold test definitions/scenarios/
    """
    from coordinator.cli import testing

    _answer(ok=testing.test(files, output))


def graph(
    file: Annotated[
        Path, typer.Argument(help="A definition file.", exists=True, dir_okay=False, readable=True)
    ],
    *,
    svg: Annotated[bool, typer.Option("--svg", help="As SVG, which any browser shows.")] = False,
) -> None:
    """Draw a definition, as a Mermaid flowchart.

    Whatever shows Mermaid shows it: many forges do, in a block of that name.
    Exit code 1 if the definition is wrong.

    Example: twofold graph --svg definitions/place-order.yaml > place-order.svg
    """
    from coordinator.cli import drawing

    _answer(ok=drawing.graph(file, as_svg=svg))


def schema(
    *,
    scenarios: Annotated[
        bool, typer.Option("--scenarios", help="Of the files that `twofold test` plays.")
    ] = False,
) -> None:
    """Print the JSON Schema of definition files, for editors.

    Save it, and let the first line of a definition name it:
    # yaml-language-server: $schema=twofold.schema.json

    Example: twofold schema > twofold.schema.json
    """
    from coordinator.cli.output import say
    from coordinator.rehearsal.script import scenario_schema
    from sagas.schema import language_schema, schema_text

    say(schema_text(scenario_schema() if scenarios else language_schema()).rstrip())


def serve(config: ConfigFile = None, definitions: Definitions = None) -> None:
    """Coordinate transactions until told to stop.

    SIGTERM or Ctrl-C gives all shards back first; a second one ends at once.
    Logs go to standard error: JSON lines, or readable ones on a terminal.

    Example: twofold serve --definitions definitions/
    """
    from coordinator.cli import running

    running.serve(config, definitions)


def migrate(
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the SQL that is to be run, and change nothing.")
    ] = False,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create the decision log in its database, or bring it up to date.

    The database itself is yours to create. With --plan, what is printed can be
    run by hand instead; where there is no database to look at, it is all of it.

    Example: twofold migrate --plan > log.sql
    """
    from coordinator.cli import preparing

    _run(preparing.plan(config) if plan else preparing.migrate(config, output))


def topics(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Create nothing; exit code 1 if anything is wrong.")
    ] = False,
    partitions: Annotated[
        int | None,
        typer.Option(
            "--partitions",
            min=1,
            max=10_000,
            help="Of new topics of commands and of starts; as many as shards if not given.",
        ),
    ] = None,
    definitions: Definitions = None,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create the topics that are not there: our own, and those of definitions.

    Definitions are all that were published, and those given here. A topic that
    is there is never changed.

    Example: twofold topics --definitions definitions/
    """
    from coordinator.cli import preparing

    work = preparing.topics(
        config, definitions, partitions=partitions, only_check=check, output=output
    )
    _answer(ok=_run(work))


def start(
    name: Annotated[str, typer.Argument(help="The name of a published definition.")],
    input_: Annotated[
        str, typer.Option("--input", help="JSON object, or @FILE, or - for standard input.")
    ] = "{}",
    key: Annotated[
        str | None,
        typer.Option("--key", help="The same key starts one transaction. Made up if not given."),
    ] = None,
    *,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Wait until it ends or is parked; exit code 1 if not COMMITTED."
        ),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0, help="Seconds to wait; no limit if not given."),
    ] = None,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Start a transaction.

    A start that is refused (its input does not fit, or its key has begun
    another one) is reported with the reason, and exit code 1.

    Example: twofold start place-order --key o-17 --input '{"order_id": "o-17"}' --wait
    """
    from coordinator.cli import starting

    wanted = starting.Wanted(name, key, starting.read_input(input_), wait=wait, seconds=timeout)
    _answer(ok=_run(starting.start(config, wanted, output)))


def publish(
    files: Annotated[
        list[Path],
        typer.Argument(help="Definition files, or folders of them.", metavar="FILES…", exists=True),
    ],
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Publish definitions: new starts follow the newest version of their name.

    What runs keeps the version that it began with. A version is published
    once: exit code 1 if it was, with another text, or if anything is wrong.

    Example: twofold publish definitions/place-order.yaml
    """
    from coordinator.cli import publishing

    _answer(ok=_run(publishing.publish(config, files, output)))


def versions(
    name: Annotated[str | None, typer.Argument(help="Only of this definition.")] = None,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what is published, and how many transactions still follow each version.

    Exit code 1 if nothing is.

    Example: twofold versions place-order
    """
    from coordinator.cli import publishing

    _answer(ok=_run(publishing.versions(config, name, output)))


def list_(
    *,
    status: Annotated[
        Literal["open", "parked", "ended"] | None, typer.Option("--status", help="Only these.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Only of this definition.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only with this start key.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="FIELD=VALUE",
            help="Only with this in the input, if `index` of its definition names the field;"
            " may be repeated.",
        ),
    ] = None,
    limit: LimitOption = 20,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List transactions, the newest first.

    Example: twofold list --status parked --where customer=c-17
    """
    from coordinator.cli import transactions

    found = transactions.list_(
        config, status=status, name=name, key=key, where=where or (), limit=limit, output=output
    )
    _run(found)


def show(
    what: Annotated[
        str, typer.Argument(help="A gid, or the name of a definition.", metavar="GID|NAME")
    ],
    key: Annotated[str | None, typer.Argument(help="The start key, after a name.")] = None,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Tell all that is known of a transaction, and what it waits for.

    Exit code 1 if there is none.

    Example: twofold show place-order o-17
    """
    from coordinator.cli import transactions

    _answer(ok=_run(transactions.show(config, what, key, output)))


def locks(
    lock: Annotated[str | None, typer.Argument(help="Only this one.", metavar="LOCK")] = None,
    limit: LimitOption = 100,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show which transaction has which lock, since when, and who waits for it, in order.

    Of each lock, the first that is shown has it. What is parked keeps its locks
    until somebody has ended it.

    Example: twofold locks customer:c-17
    """
    from coordinator.cli import locks as looking

    _run(looking.locks(config, lock=lock, limit=limit, output=output))


def nodes(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")
    ] = False,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show who runs, who is suspected or gone, and how much waits for whom.

    Exit code 1 if nobody has a shard, or if no instance of a participant lives
    that a definition needs. Whoever is silent for three seconds counts as gone.

    Example: twofold nodes --watch
    """
    from coordinator.cli import nodes as looking

    _answer(ok=_run(looking.nodes(config, watch=watch, output=output)))


def config(config: ConfigFile = None, output: OutputOption = Output.TEXT) -> None:
    """Show the settings in force, and where each is said. Passwords are masked.

    Example: TWOFOLD_LOG__SHARDS=4 twofold config
    """
    from coordinator.cli import reach

    reach.show_settings(config, output)


ALL: Final[tuple[Callable[..., None], ...]] = (
    check,
    simulate,
    test,
    graph,
    schema,
    migrate,
    topics,
    serve,
    publish,
    versions,
    start,
    list_,
    show,
    locks,
    nodes,
    config,
)


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def _answer(*, ok: bool) -> None:
    if not ok:
        raise typer.Exit(NO)
