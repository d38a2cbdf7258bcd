"""Syntax trees of source text, for tests of how the code is written."""

import ast
import gc


def tree_of(source: str) -> ast.Module:
    """The tree of a module's text.

    The garbage collector rests meanwhile. A finaliser may format a trace, which parses too, and CPython 3.11 takes a
    parse within a parse for an error ("AST constructor recursion depth mismatch").
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if was_enabled:
            gc.enable()
