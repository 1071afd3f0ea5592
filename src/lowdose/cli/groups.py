"""Groups of commands that are commands themselves."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class NamesAndCommands(TyperGroup):
    """A group whose first word is a command if it is one, and else the argument of the group itself."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.allow_interspersed_args = not args or args[0] not in self.commands
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        if ctx.command is self and ctx.allow_interspersed_args:
            return params
        return [one for one in params if one.param_type_name != "argument"]
