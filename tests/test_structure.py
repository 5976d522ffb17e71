"""The shape of the package, read from its source: floors, circles, names and sizes."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'mer_jax'
FLOORS = {
    'commands': 5,  # the modules directly in mer_jax/
    'demo': 5,  # a command of several modules
    'evaluation': 4,
    'run': 4,
    'methods': 3,
    'rl': 2,
    'models': 1,
    'data': 1,
    'errors': 0,
    'storage': 0,
    'group': 0,
    'sharding': 0,
}
STRANGERS = {'data': 'models', 'models': 'data'}  # folders that know nothing of each other
METHOD_NAMES = re.compile('mer_r1|emo_r3|wheel|<think>|boxed', re.IGNORECASE)
MOST_COMMANDS = 10  # files directly in mer_jax/, beside the list of commands
MOST_LINES, MOST_FUNCTION_LINES = 400, 60


def module_of(path: pathlib.Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob('*.py'))}


def shown(module: str) -> str:
    """The path of a module from the root of the repository."""
    return FILES[module].relative_to(ROOT).as_posix()


def parsed(module: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(FILES[module].read_text(encoding='utf-8'))


def package_of(module: str) -> list[str]:
    """The names of the package from which relative imports of a module start."""
    parts = module.split('.')
    return parts if FILES[module].name == '__init__.py' else parts[:-1]


def imported(module: str) -> dict[str, int]:
    """The modules of the package that a module imports, anywhere in it, by the line that does.

    `from package import module` counts for the module, not for its package.
    """
    found = {}
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package_of(module)[: 1 - node.level or None] if node.level else []
            start = '.'.join([*above, *filter(None, [node.module])])
            full = [f'{start}.{alias.name}' for alias in node.names]
            names = [name if name in FILES else start for name in full]
        else:
            continue
        for name in names:
            if name in FILES and name != 'mer_jax':
                found.setdefault(name, node.lineno)
    return found


IMPORTS = {module: imported(module) for module in FILES}


def area(module: str) -> str:
    """The key of FLOORS under which a module falls."""
    second = module.split('.')[1:2]
    return second[0] if second and second[0] in FLOORS else 'commands'


def circles() -> list[list[str]]:
    """Sets of modules that import each other, directly or through others of the set."""
    reached = {module: reachable(module) for module in FILES}
    found = []
    for module in FILES:
        circle = sorted(other for other in reached[module] if module in reached[other])
        if circle and circle not in found:
            found.append(circle)
    return found


def reachable(module: str) -> set[str]:
    """All modules that a module imports, directly or through others."""
    found, left = set(), [module]
    while left:
        for name in IMPORTS[left.pop()].keys() - found:
            found.add(name)
            left.append(name)
    return found


def functions(module: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods of a module."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(parsed(module)) if isinstance(node, kinds)]


def assert_none(rule: str, offenders: list[str]) -> None:
    """Fails with the rule and all who break it."""
    if offenders:
        message = [f'{rule}; these do:', *(f'  {offender}' for offender in offenders)]
        pytest.fail('\n'.join(message), pytrace=False)


def test_every_module_belongs_to_a_floor():
    known = {name for name in FLOORS if (PACKAGE / name).is_dir()}
    folders = {path.name for path in PACKAGE.iterdir() if list(path.glob('*.py'))}
    assert_none(
        'a folder of mer_jax/ must be named in FLOORS',
        [f'mer_jax/{name}' for name in sorted(folders - known)],
    )


def test_files_import_from_their_own_floor_or_lower_ones():
    assert_none(
        'a file must not import from a higher floor',
        [
            f'{shown(module)}:{line} ({area(module)}, floor {FLOORS[area(module)]}) imports '
            f'{name} ({area(name)}, floor {FLOORS[area(name)]})'
            for module, names in IMPORTS.items()
            for name, line in names.items()
            if FLOORS[area(name)] > FLOORS[area(module)] and module != 'mer_jax'
        ],
    )


def test_data_and_models_do_not_import_each_other():
    assert_none(
        'data and models must not import each other',
        [
            f'{shown(module)}:{line} imports {name}'
            for module, names in IMPORTS.items()
            for name, line in names.items()
            if STRANGERS.get(area(module)) == area(name)
        ],
    )


def test_no_modules_import_each_other_in_a_circle():
    assert_none(
        'modules must not import each other in a circle, inside functions neither',
        [', '.join(map(shown, circle)) for circle in circles()],
    )


def test_algorithms_and_models_name_no_method():
    assert_none(
        f'a file in rl/ or models/ must not hold {METHOD_NAMES.pattern!r}',
        [
            f'{shown(module)}:{number}: {line.strip()}'
            for module in FILES
            if area(module) in ('rl', 'models')
            for number, line in enumerate(FILES[module].read_text().splitlines(), 1)
            if METHOD_NAMES.search(line)
        ],
    )


def test_few_files_are_directly_in_the_package():
    files = PACKAGE.glob('*.py')
    names = sorted(path.name for path in files if path.name != '__main__.py')
    assert_none(
        f'mer_jax/ must hold at most {MOST_COMMANDS} files directly, not {len(names)}',
        names if len(names) > MOST_COMMANDS else [],
    )


def test_functions_are_short():
    lengths = [
        (shown(module), function, function.end_lineno - function.lineno + 1)
        for module in FILES
        for function in functions(module)
        if function.name != 'get_config' and module != 'mer_jax.run.defaults'
    ]
    assert_none(
        f'a function must have at most {MOST_FUNCTION_LINES} lines',
        [
            f'{path}:{function.lineno}: {function.name} has {length}'
            for path, function, length in lengths
            if length > MOST_FUNCTION_LINES
        ],
    )


def test_files_are_short():
    lengths = {module: len(path.read_text().splitlines()) for module, path in FILES.items()}
    assert_none(
        f'a file must have at most {MOST_LINES} lines',
        [
            f'{shown(module)} has {length}'
            for module, length in lengths.items()
            if length > MOST_LINES
        ],
    )


def test_config_files_are_imported_and_never_run():
    paths = [*FILES.values(), *sorted((ROOT / 'configs').rglob('*.py'))]
    assert_none(
        'a file must not mention runpy: config files are imported',
        [
            f'{path.relative_to(ROOT)}:{number}: {line.strip()}'
            for path in paths
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if 'runpy' in line
        ],
    )


def test_no_two_test_files_have_the_same_name():
    names = [path.name for path in (ROOT / 'tests').rglob('test_*.py')]
    assert_none(
        'pytest imports test files by their names alone, so each may occur once',
        sorted({name for name in names if names.count(name) > 1}),
    )
