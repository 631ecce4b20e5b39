"""README and docs name only what exists, and quote errors as the code raises them."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from cprlib.methods import ALL_VIEWS, METHODS, VIEWS
from docs import make_tables

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "outputs" / "README.md"]
GAP = "‹›"  # a value filled into an error message
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)|(?:src|href)=\"(?P<attribute>[^\"]+)\"")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code_of(page: Path) -> list[str]:
    """All fenced blocks and code spans of a page, with single spaces, without quoted errors."""
    text = page.read_text()
    parts = [body for kind, body in FENCE.findall(text) if kind != "text"] + [
        span for _, span in SPAN.findall(FENCE.sub("", text))
    ]
    return [" ".join(part.split()) for part in parts]


def links_of(page: Path) -> list[tuple[str, str]]:
    """Text and target of every link and picture of a page."""
    found = LINK.finditer(FENCE.sub("", page.read_text()))
    return [(match["text"] or "", match["target"] or match["attribute"]) for match in found]


def anchors_of(page: Path) -> set[str]:
    """The headings of a page, as GitHub's anchors."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links_and_pictures_exist(page):
    for _, target in links_of(page):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists() and file.is_relative_to(ROOT), f"{page.name} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors_of(file), f"{page.name} links to {target}, a heading that does not exist"


@pages
def test_a_link_named_after_code_points_to_the_file_that_defines_it(page):
    for text, target in links_of(page):
        name = re.fullmatch(r"`(?:\w+\.)*(\w+)`", text)
        if name and target.endswith(".py") and not target.endswith(text.strip("`")):
            module = ast.parse((page.parent / target).read_text())
            defined = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
            assert name[1] in defined, f"{page.name}: {target} does not define {text}"


@pages
def test_targets_modules_and_files_named_on_a_page_exist(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for code in code_of(page):
        for target in re.findall(r"\bmake ([a-z]+)", code):
            assert target in targets, f"{page.name}: no target {target} in the Makefile"
        for module in re.findall(r"python3? -m ([\w.]+)", code):
            assert is_command(module), f"{page.name}: python -m {module} does not run"
        for name in re.findall(r"(?<![\w/.])(?:params|notebooks|docs|bench|cprlib|data_prep)/[\w./-]+\.\w+", code):
            assert (ROOT / name).exists(), f"{page.name} names {name}, which does not exist"


@cache
def is_command(module: str) -> bool:
    """Whether ``python -m`` can run a module; ours must say so."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.submodule_search_locations is not None:
        return spec is not None and importlib.util.find_spec(f"{module}.__main__") is not None
    ours = Path(spec.origin).is_relative_to(ROOT) and ".venv" not in spec.origin
    return not ours or '__name__ == "__main__"' in Path(spec.origin).read_text()


def quoted_messages() -> list[str]:
    """The errors of the troubleshooting page, with gaps for filled-in values."""
    blocks = FENCE.findall((ROOT / "docs" / "troubleshooting.md").read_text())
    return [with_gaps(body) for kind, body in blocks if kind == "text"]


def quoted_reasons() -> list[str]:
    """The reasons in its table for leaving out a video."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    return [with_gaps(reason) for reason in re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)]


def with_gaps(text: str) -> str:
    return " ".join(re.sub(r"‹[^›]*›", GAP, text).split())


def test_quoted_errors_exist_in_the_code():
    messages, raised = quoted_messages(), {*raised_in_python(), *raised_elsewhere()}
    assert len(messages) >= 25 and len(set(messages)) == len(messages)
    assert [message for message in messages if message not in raised] == []


def raised_in_python() -> Iterator[str]:
    """Every possible text of an exception of the package or of data_prep."""
    paths = [*ROOT.glob("cprlib/**/*.py"), *ROOT.glob("data_prep/*.py")]
    functions = [function for path in paths for function in functions_in(ast.parse(path.read_text()))]
    for function in functions:
        yield from texts_raised_by(function, functions)


def functions_in(module: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]


def texts_raised_by(function: ast.AST, functions: list[ast.FunctionDef]) -> Iterator[str]:
    """Texts in raise statements and exits of commands; also those assembled before, in a variable or helper."""
    ends = [node for node in ast.walk(function) if isinstance(node, ast.Raise) or is_exit(node)]
    names = {node.id for end in ends for node in ast.walk(end) if isinstance(node, ast.Name)}
    helpers = [f for f in functions if f.name in names]
    given = [node for node in ast.walk(function) if isinstance(node, ast.Assign) and assigns(node, names)]
    returned = [node for f in helpers for node in ast.walk(f) if isinstance(node, ast.Return)]
    for node in (*ends, *given, *returned):
        yield from texts_in(node)


def is_exit(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("parser.error", "sys.exit", "SystemExit")


def assigns(node: ast.Assign, names: set[str]) -> bool:
    return any(isinstance(target, ast.Name) and target.id in names for target in node.targets)


def texts_in(node: ast.AST) -> Iterator[str]:
    """Texts in an expression, f-strings with gaps; parts of an f-string do not count as texts."""
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
        yield " ".join("".join(parts).split())
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield " ".join(node.value.split())
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts_in(child)


def test_quoted_reasons_exist_in_the_code():
    reasons, given = quoted_reasons(), reasons_of_problems()
    assert len(reasons) >= 8 and [reason for reason in reasons if reason not in given] == []


def reasons_of_problems() -> set[str]:
    """Reasons for leaving out a video: the values of the column reason of ``<manifest>_problems.csv``."""
    texts = set()
    for path in [*ROOT.glob("cprlib/data/*.py"), *ROOT.glob("data_prep/*.py")]:
        module = ast.parse(path.read_text())
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "VideoError":
                texts.update(text for argument in node.args[1:] for text in texts_in(argument))
            if isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                texts.update(t for k, v in pairs if getattr(k, "value", "") == "reason" for t in texts_in(v))
        for node in module.body:  # MISSING, UNLISTED, …
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                texts.update(texts_in(node.value))
    return texts


def raised_elsewhere() -> Iterator[str]:
    """Errors of the Snakefile, which is not pure Python, and of the Makefile."""
    snakefile = (ROOT / "Snakefile").read_text()
    for start in (match.start() for match in re.finditer(r"WorkflowError\(", snakefile)):
        call = next(tree for end in range(start + 1, len(snakefile)) if (tree := parsed(snakefile[start:end])))
        yield from texts_in(call)
    for line in re.findall(r"echo ['\"](error: [^'\"]+)['\"]", (ROOT / "Makefile").read_text()):
        yield re.sub(r"\$\$\w+", GAP, line)


def parsed(text: str) -> ast.AST | None:
    try:
        return ast.parse(text, mode="eval") if text.endswith(")") else None
    except SyntaxError:
        return None


@pytest.mark.parametrize("page", make_tables.PAGES, ids=lambda page: page.name)
def test_tables_match_the_numbers(page):
    text = page.read_text(encoding="utf-8")
    assert make_tables.BLOCK.search(text)
    assert make_tables.filled(text, make_tables.read()) == text, "run python -m docs.make_tables"


def test_a_table_of_unmeasured_runs_is_refused():
    with pytest.raises(ValueError, match="has no run 'nowhere'"):
        make_tables.filled("<!-- table: means nowhere -->\n<!-- end -->", make_tables.read())


def test_the_numbers_have_known_names_and_are_percentages():
    table = pd.read_csv(ROOT / "docs" / "results.csv")
    assert list(table) == make_tables.COLUMNS and not table.isna().any(axis=None) and len(table)
    assert set(table["method"]) <= set(METHODS) and set(table["view"]) <= {*VIEWS, ALL_VIEWS}
    assert set(table["measure"]) <= {"r1", "r5", "r10", "r20", "probe", "finetune", "pmr", "cmr", "mining_r1"}
    assert set(table["dataset"]) <= {"built-in", "ucf101-12"}
    assert table["value"].between(0, 100).all()
    key = ["dataset", "run", "seed", "method", "stages", "cycle", "epoch", "view", "measure"]
    assert not table.duplicated(key).any(), "a number is listed twice"
    assert (table["run"].str.extract(r"-seed(\d+)$")[0].astype(int) == table["seed"]).all()


def test_the_glossary_is_sorted_and_explains_each_word_once():
    terms = re.findall(r"^\*\*(.+?)\*\*", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    keys = [re.sub(r"[^a-z0-9 ]", "", term.lower()) for term in terms]
    assert keys == sorted(keys) and len(set(keys)) == len(keys) >= 40


def test_a_changed_message_would_be_noticed():
    module = ast.parse("def f(x):\n  y = f'bad {x!r}: ' 'mend it'\n  raise ValueError(y)")
    assert set(texts_raised_by(functions_in(module)[0], functions_in(module))) == {f"bad {GAP}: mend it"}
    assert with_gaps("bad ‹what, e.g. 3›:\n  mend it") == f"bad {GAP}: mend it"
