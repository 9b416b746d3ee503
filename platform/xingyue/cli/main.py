"""``xingyue``: one command for operators, vendors and manufacturers."""

from __future__ import annotations

import sys

import typer

from xingyue.cli import admin, bench, lifecycle, models, statement, voucher
from xingyue.cli.audit import audit
from xingyue.cli.call import call
from xingyue.cli.dataset import dataset
from xingyue.cli.output import errors
from xingyue.cli.top import top
from xingyue.cli.tune import tune
from xingyue.cli.variant import variant
from xingyue.cli.webhook import webhook
from xingyue.errors import XingyueError
from xingyue_client import ClientError

app = typer.Typer(
    help="Xingyue 星月: industry models, served and metered.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    lifecycle.weights,
    lifecycle.serve,
    lifecycle.up,
    lifecycle.down,
    lifecycle.status,
    top,
    call,
    models.catalog,
    models.usage,
    statement.statement,
    statement.earnings,
):
    app.command()(command)
app.command("eval")(models.evaluate)
if bench.is_checkout():
    # Its options are the benchmarks' own, --help among them.
    passed_on = {"ignore_unknown_options": True, "help_option_names": []}
    app.command("bench", context_settings=passed_on)(bench.bench)
app.add_typer(dataset, name="dataset")
app.add_typer(tune, name="tune")
app.add_typer(variant, name="variant")
app.add_typer(webhook, name="webhook")
app.add_typer(statement.report, name="report")
app.add_typer(admin.tenant, name="tenant")
app.add_typer(admin.key, name="key")
app.add_typer(voucher.voucher, name="voucher")
app.add_typer(voucher.price, name="price")
app.add_typer(audit, name="audit")


def main() -> None:
    """Exit code 1 and one clear line for an error of ours or the client's; 2 for a wrong
    command line."""
    try:
        app()
    except (XingyueError, ClientError) as error:
        field = f" ({error.param})" if error.param else ""
        errors.print(f"[red]{error.code}[/]{field}: ", end="")
        errors.print(error.message, markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
