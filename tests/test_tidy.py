"""House rules that no linter keeps, each proved by a planted fault that it must report.

Every rule takes a house (a tree of files) and yields faults. ruff keeps docstrings, imports and the rest of the style.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from callfare.capture.providers import WRAPPED

ROOT = Path(__file__).parents[1]

# From the ground up: a module imports from its own layer and from those before it.
LAYERS = (
    {"errors", "money", "ids", "clock", "checks", "mutexes"},
    {"usage"},
    {"pricing"},
    {"ledger"},
    {"estimate"},
    {"store"},
    {
        "committer",
        "delivery",
        "finished",
        "spool",
        "spool_file",
        "spool_place",
        "context",
        "secrets",
        "settings",
        "answers",
        "pages",
        "local_run",
    },
    {"capture", "payments"},
    {"engine"},
    {"auth"},
    {"remote"},
    {"access", "buying", "handle", "facade", "operating", "callfare", "aio"},
    {"server", "mcp", "cli", "wiring"},
)
SURFACE = len(LAYERS)
BESIDE = len(LAYERS) + 1
# What may be imported from above, inside a function only, and why.
LAZY_UPWARD = {
    ("cli", "devtools"): "`callfare demo` shows the product with its stand-ins",
}
# What something other than an import starts: Python, the console script, ./run.
ENTRY_POINTS = (
    "callfare",
    "callfare.__main__",
    "callfare.cli",
    # What meters the clients of each SDK is named in data, and read when the first of them is wrapped.
    *(f"callfare.capture.{file}" for file in WRAPPED.values()),
    "callfare.devtools.convex_schema",
    "callfare.devtools.demo",
    "callfare.devtools.fake_anthropic",
    "callfare.devtools.fake_bedrock",
    "callfare.devtools.fake_cohere",
    "callfare.devtools.fake_google",
    "callfare.devtools.fake_huggingface",
    "callfare.devtools.fake_ollama",
    "callfare.devtools.fake_siblings",
    "callfare.devtools.fake_stripe.__main__",
    "callfare.devtools.fake_xai",
    "callfare.devtools.tied",
)

NEAR_MONEY = {"money", "usage", "pricing", "ledger", "estimate"}
FLOAT_NAMED = {
    "callfare.usage.quantities": "an SDK's own float seconds are recognised, and taken as the decimal they print as",
}
CLOCK_AND_CHANCE = {"time", "random", "secrets", "uuid"}
CLOCK_AND_CHANCE_USED = {
    "callfare.clock": "the only clock",
    "callfare.ids": "the only randomness",
}

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

FORBIDDEN_ANYWHERE = {"wallet", "wallets", "deduct", "deducts", "deducted", "freeze", "frozen", "finalize", "finalized"}
FORBIDDEN_IN_TITLES = {"info", "infos", "manager", "managers", "helper", "helpers", "util", "utils"}
FORBIDDEN_ALONE = {"data"}
LOCKING = {"lock", "locks", "locked", "unlock", "unlocked"}
CREDIT = {"credit", "credits", "nanocredits", "amount", "balance", "usd", "picousd"}

SQL = re.compile(
    r"\s*(?:(?:SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP|WITH|PRAGMA|VACUUM|ATTACH|BEGIN|COMMIT|ROLLBACK)\b"
    r"|(?i:select\s.*\sfrom\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|create\s+(?:table|view|index)\s))",
    re.DOTALL,
)
# A transaction's bounds and a connection's settings name no table, and are set where the connection is.
SQL_ALLOWED_IN_STORE = re.compile(r"\s*(?:BEGIN(?: \w+)?|COMMIT|ROLLBACK|PRAGMA\s.*)\s*;?\s*", re.DOTALL)

# Written in pieces, so that this file does not name what it forbids.
HOMES = re.compile(r"(?<![\w.])/(?:" + "|".join(["ho" + "me", "Us" + "ers", "ro" + "ot", "wo" + "rk"]) + r")/\w")
REGISTRIES = re.compile(
    "|".join(
        [r"\bpy" + r"pi\.org", r"python" + r"hosted\.org", r"npm" + r"js\.(?:org|com)", r"\bdeb" + r"\.debian\.org"]
    )
)


@dataclass(frozen=True)
class Module:
    """One Python file: where it stands, its dotted name, and its syntax tree."""

    path: str
    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def part(self) -> str:
        """The piece of the package that a layer lists: `usage` for callfare.usage.meters."""
        return self.name.split(".")[1] if "." in self.name else ""

    def imports(self, known: set[str]) -> Iterator[tuple[str, bool, int]]:
        """Yield (module of ours, whether a function imports it, line)."""
        lazy = {id(inner) for outer in functions(self.tree) for inner in ast.walk(outer)}
        for node in ast.walk(self.tree):
            for name in imported_names(node):
                target = next((owner for owner in (name, name.rpartition(".")[0]) if owner in known), None)
                if target is not None:
                    yield target, id(node) in lazy, node.lineno


@dataclass(frozen=True)
class House:
    """A tree of files to judge: this repository, or one planted by a test."""

    root: Path

    @cached_property
    def paths(self) -> list[Path]:
        """Every file that belongs to the house: known to git, or new and not ignored."""
        if (self.root / ".git").exists():
            command = ["git", "-C", str(self.root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
            listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
            found = [self.root / name for name in listed.split("\0") if name]
        else:
            hidden = re.compile(r"/(\.venv[^/]*|\.\w+_cache|\.hypothesis|__pycache__|build|dist|node_modules)/")
            found = [path for path in self.root.rglob("*") if not hidden.search(f"/{path.relative_to(self.root)}")]
        return sorted(path for path in found if path.is_file())

    def texts(self, suffix: str = "", under: str = "") -> Iterator[tuple[str, str]]:
        """Yield (path in the house, text) of each file."""
        for path in self.paths:
            relative = path.relative_to(self.root).as_posix()
            if relative.endswith(suffix) and relative.startswith(under):
                yield relative, path.read_text(encoding="utf-8", errors="replace")

    @cached_property
    def python(self) -> list[Module]:
        return [Module(path, dotted(path), text) for path, text in self.texts(suffix=".py")]

    @cached_property
    def product(self) -> list[Module]:
        return [module for module in self.python if module.path.startswith("src/callfare/")]


def dotted(path: str) -> str:
    return path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imported_names(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(module=str(module)):
            return [f"{module}.{alias.name}" for alias in node.names]
        case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
            return [name]
    return []


def layer_order(house: House) -> Iterator[str]:
    """A lower layer never imports a higher one, and every module stands in a layer."""
    known = {module.name for module in house.product}
    for module in house.product:
        level = layer_of(module.name)
        if level is None:
            yield f"{module.path}: {module.part} stands in no layer"
            continue
        for target, is_lazy, line in module.imports(known):
            above = layer_of(target)
            target_part = target.split(".")[1] if "." in target else ""
            is_allowed = is_lazy and (module.part, target_part) in LAZY_UPWARD
            if above is not None and above > level and not is_allowed:
                yield f"{module.path}:{line}: imports {target} from above"


def layer_of(name: str) -> int | None:
    part = name.split(".")[1] if "." in name else ""
    if part in {"", "__main__"}:
        return SURFACE
    if part == "devtools":
        return BESIDE
    return next((level for level, parts in enumerate(LAYERS) if part in parts), None)


def dead_modules(house: House) -> Iterator[str]:
    """Every module is reached by imports from what users start."""
    modules = {module.name: module for module in house.product}
    reached: set[str] = set()
    waiting = [name for name in ENTRY_POINTS if name in modules]
    if not waiting:
        yield "src/callfare has no entry point, so nothing in it can be used"
        return
    while waiting:
        name = waiting.pop()
        if name in modules and name not in reached:
            reached.add(name)
            waiting += [target for target, _, _ in modules[name].imports(set(modules))]
            waiting.append(name.rpartition(".")[0])
    for name in sorted(set(modules) - reached):
        yield f"{modules[name].path}: nothing imports it"


def sizes(house: House) -> Iterator[str]:
    """No module above 500 lines, no function above 70."""
    for module in house.python:
        lines = len(module.text.splitlines())
        if lines > MODULE_LINES_MAX:
            yield f"{module.path}: {lines} lines, the most is {MODULE_LINES_MAX}"
        for function in functions(module.tree):
            lines = (function.end_lineno or 0) - function.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{module.path}:{function.lineno}: {function.name} has {lines} lines of {FUNCTION_LINES_MAX}"


def floats_near_money(house: House) -> Iterator[str]:
    """Where value or quantity is computed there is no float: not written, not made, not named."""
    for module in house.product:
        if module.part not in NEAR_MONEY:
            continue
        for node in ast.walk(module.tree):
            match node:
                case ast.Constant(value=float() | complex()):
                    yield f"{module.path}:{node.lineno}: float literal {node.value}"
                case ast.Call(func=ast.Name(id="float")):
                    yield f"{module.path}:{node.lineno}: makes a float"
                case ast.Name(id="float") if module.name not in FLOAT_NAMED:
                    yield f"{module.path}:{node.lineno}: names float"


def clock_and_chance(house: House) -> Iterator[str]:
    """Time and randomness come from clock.py and ids.py, so that a test can set both."""
    for module in house.product:
        if module.name in CLOCK_AND_CHANCE_USED:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in imported_names(node):
                    if name.split(".")[0] in CLOCK_AND_CHANCE:
                        yield f"{module.path}:{node.lineno}: imports {name}"
            match node:
                case ast.Attribute(attr="now" | "utcnow" | "today" | "urandom") if ast.unparse(node.value) in {
                    "datetime",
                    "datetime.datetime",
                    "date",
                    "datetime.date",
                    "os",
                }:
                    yield f"{module.path}:{node.lineno}: calls {ast.unparse(node)}"


def vocabulary(house: House) -> Iterator[str]:
    """One word per idea, the field's word; see style.md for the words that are not used."""
    for module in house.product:
        for title in module.name.split("."):
            yield from misnamed(title, module.path, is_title=True)
        for node in ast.walk(module.tree):
            for name, is_title in defined_names(node):
                yield from misnamed(name, f"{module.path}:{getattr(node, 'lineno', 1)}", is_title=is_title)
    for path, text in house.texts(suffix=".sql", under="src/"):
        for number, line in enumerate(text.splitlines(), start=1):
            for word in sorted(words(line) & FORBIDDEN_ANYWHERE):
                yield f"{path}:{number}: says {word}"


def defined_names(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield (name, whether it is the title of a class or function) that this node brings in."""
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name, True
        case ast.arg():
            yield node.arg, False
        case ast.Name(ctx=ast.Store()):
            yield node.id, False
        case ast.Attribute(ctx=ast.Store()):
            yield node.attr, False
        case ast.alias(asname=str(name)):
            yield name, False


def misnamed(name: str, place: str, *, is_title: bool) -> Iterator[str]:
    found = words(name)
    forbidden = FORBIDDEN_ANYWHERE | (FORBIDDEN_IN_TITLES if is_title else set())
    if name.strip("_") in FORBIDDEN_ALONE or found & forbidden or (found & LOCKING and found & CREDIT):
        yield f"{place}: {name} is not one of our words"


def words(text: str) -> set[str]:
    """The words of snake_case, CamelCase or prose, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)}


def sql_strings(house: House) -> Iterator[str]:
    """SQL stands in .sql files, where it is linted and has a name."""
    for module in house.product:
        docstrings = {id(node.value) for node in ast.walk(module.tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(module.tree):
            match node:
                case ast.Constant(value=str(text)) if id(node) not in docstrings and SQL.match(text):
                    if not (module.part == "store" and SQL_ALLOWED_IN_STORE.fullmatch(text)):
                        yield f"{module.path}:{node.lineno}: SQL in Python: {text.strip()[:40]!r}"


def inits_hold_names_only(house: House) -> Iterator[str]:
    """An `__init__.py` says what is public; work is done in modules."""
    for module in house.product:
        if not module.path.endswith("/__init__.py"):
            continue
        for node in module.tree.body:
            match node:
                case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
                    pass
                case ast.Assign(targets=[ast.Name(id="__all__" | "__version__")]):
                    pass
                case _:
                    yield f"{module.path}:{node.lineno}: more than names"


def skips_without_reason(house: House) -> Iterator[str]:
    """A test that is skipped or expected to fail says why."""
    for module in house.python:
        called = {id(node.func): node for node in ast.walk(module.tree) if isinstance(node, ast.Call)}
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Attribute) or node.attr not in {"skip", "skipif", "xfail", "importorskip"}:
                continue
            if not ast.unparse(node).startswith("pytest."):
                continue
            call = called.get(id(node))
            has_reason = call is not None and any(
                keyword.arg == "reason" and ast.unparse(keyword.value) not in {"''", "None"}
                for keyword in call.keywords
            )
            is_text_first = node.attr in {"skip", "xfail"} and call is not None and bool(call.args)
            if not has_reason and not is_text_first:
                yield f"{module.path}:{node.lineno}: {ast.unparse(node)} without a reason"


def places(house: House) -> Iterator[str]:
    """No file names one machine's folders or the host of a package registry."""
    for path, text in house.texts():
        for number, line in enumerate(text.splitlines(), start=1):
            for found in (HOMES.search(line), REGISTRIES.search(line)):
                if found:
                    yield f"{path}:{number}: names {found[0]}"


Rule = Callable[[House], Iterator[str]]
RULES: tuple[Rule, ...] = (
    layer_order,
    dead_modules,
    sizes,
    floats_near_money,
    clock_and_chance,
    vocabulary,
    sql_strings,
    inits_hold_names_only,
    skips_without_reason,
    places,
)

PLANTS: tuple[tuple[Rule, str, str, str], ...] = (
    (layer_order, "src/callfare/usage/meters.py", "import callfare.engine", "imports callfare.engine from above"),
    (layer_order, "src/callfare/usage/meters.py", "from callfare import engine", "imports callfare.engine from above"),
    (layer_order, "src/callfare/money.py", "def f():\n    import callfare.usage.meters", "from above"),
    (layer_order, "src/callfare/money.py", "import importlib\nimportlib.import_module('callfare.cli')", "from above"),
    (layer_order, "src/callfare/engine.py", "def f():\n    import callfare.devtools.demo", "from above"),
    (layer_order, "src/callfare/cli.py", "import callfare.devtools.demo", "from above"),
    (layer_order, "src/callfare/engine.py", "import callfare", "imports callfare from above"),
    (layer_order, "src/callfare/attic.py", "", "attic stands in no layer"),
    (dead_modules, "src/callfare/attic.py", "import callfare.cli", "attic.py: nothing imports it"),
    (dead_modules, "src/callfare/cli.py", "", "engine.py: nothing imports it"),
    (sizes, "src/callfare/long.py", "x = 1\n" * 501, "501 lines"),
    (sizes, "tests/test_long.py", "def f():\n" + "    g()\n" * 70, "f has 71 lines"),
    (floats_near_money, "src/callfare/pricing/book.py", "HALF = 0.5", "float literal 0.5"),
    (floats_near_money, "src/callfare/usage/quantities.py", "def f(x):\n    return float(x)", "makes a float"),
    (floats_near_money, "src/callfare/ledger/holds.py", "def f(x: float): ...", "names float"),
    (clock_and_chance, "src/callfare/engine.py", "from time import monotonic", "imports time.monotonic"),
    (clock_and_chance, "src/callfare/engine.py", "import uuid", "imports uuid"),
    (clock_and_chance, "src/callfare/engine.py", "then = datetime.now(UTC)", "calls datetime.now"),
    (clock_and_chance, "src/callfare/engine.py", "salt = os.urandom(8)", "calls os.urandom"),
    (vocabulary, "src/callfare/utils.py", "", "utils is not one of our words"),
    (vocabulary, "src/callfare/engine.py", "class UserWallet: ...", "UserWallet is not"),
    (vocabulary, "src/callfare/engine.py", "class RunInfo: ...", "RunInfo is not"),
    (vocabulary, "src/callfare/engine.py", "def f(deducted_usd): ...", "deducted_usd is not"),
    (vocabulary, "src/callfare/engine.py", "data = {}", "data is not"),
    (vocabulary, "src/callfare/engine.py", "self.locked_credits = 0", "locked_credits is not"),
    (vocabulary, "src/callfare/store/sql/a.sql", "SELECT frozen_at FROM holds", "says frozen"),
    (sql_strings, "src/callfare/store/sqlite.py", "Q = 'SELECT 1 FROM holds'", "SQL in Python"),
    (sql_strings, "src/callfare/store/sqlite.py", "Q = f'delete from {x}'", "SQL in Python"),
    (sql_strings, "src/callfare/engine.py", "BOUND = 'BEGIN IMMEDIATE'", "SQL in Python"),
    (inits_hold_names_only, "src/callfare/usage/__init__.py", "def f(): ...", "more than names"),
    (skips_without_reason, "tests/test_a.py", "import pytest\n@pytest.mark.skip\ndef test(): ...", "mark.skip without"),
    (skips_without_reason, "tests/test_a.py", "import pytest\n@pytest.mark.xfail()\ndef test(): ...", "xfail without"),
    (skips_without_reason, "tests/test_a.py", "pytest.importorskip('gevent')", "importorskip without"),
    (skips_without_reason, "tests/test_a.py", "pytest.mark.skipif(True, reason='')", "skipif without"),
    (places, "docs/start.md", "open /ho" + "me/ann/callfare.db", "start.md:1: names"),
    (places, "docs/start.md", "from https://py" + "pi.org/simple", "start.md:1: names"),
)

# What keeps every rule, close to where each would break.
CLEAN = {
    "src/callfare/__init__.py": '"""All."""\nfrom callfare.cli import main\n__all__ = ["main"]\n',
    "src/callfare/cli.py": "import callfare.engine\ndef main():\n    import callfare.devtools.demo\n",
    "src/callfare/devtools/demo.py": "import callfare\nprint('Select a plan')\n",
    "src/callfare/engine.py": "from callfare.usage import meters\n_write_lock = Lock()\nmoment = clock.now()\n",
    "src/callfare/usage/meters.py": '"""0.5 is a float; SELECT is not SQL here."""\nimport callfare.money\n',
    "src/callfare/usage/quantities.py": "def is_seconds(x):\n    return isinstance(x, float)\n",
    "src/callfare/money.py": "def f():\n" + "    g()\n" * 69,
    "src/callfare/store/sqlite.py": "BOUNDS = ('BEGIN IMMEDIATE', 'COMMIT', 'PRAGMA journal_mode = WAL')\n",
    "src/callfare/remote.py": "from callfare.store import sqlite\nfrom callfare.usage import quantities\n",
    "src/callfare/__main__.py": "import callfare.remote\n",
    "tests/test_a.py": "import pytest\npytest.skip('no moon')\npytest.importorskip('x', reason='y')\n",
    "README.md": "Prices are on https://example.org/home/prices\n",
}


def plant(root: Path, files: dict[str, str]) -> House:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return House(root)


@pytest.fixture(scope="module")
def our_house() -> House:
    return House(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_our_house_keeps_the_rule(our_house, rule):
    faults = list(rule(our_house))

    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("rule", "path", "text", "fault"),
    PLANTS,
    ids=[f"{rule.__name__}-{number}" for number, (rule, _, _, _) in enumerate(PLANTS, start=1)],
)
def test_a_planted_fault_is_reported(tmp_path, rule, path, text, fault):
    house = plant(tmp_path, CLEAN | {path: text})

    assert any(fault in reported for reported in rule(house)), list(rule(house))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_clean_house_is_not_reported(tmp_path, rule):
    house = plant(tmp_path, CLEAN)

    assert list(rule(house)) == []


def test_every_rule_is_planted_against():
    assert {rule for rule, _, _, _ in PLANTS} == set(RULES)
