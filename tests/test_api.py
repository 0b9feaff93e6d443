"""What `import convnova` offers: every name has an example that runs."""

import doctest
import inspect
import subprocess
import sys

import pytest

import convnova


@pytest.mark.parametrize("name", convnova.MODULE_OF)
def test_every_public_name_has_an_example_that_runs(name):
    value = getattr(convnova, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(value, name, globs=vars(inspect.getmodule(value)).copy())
    assert example.examples, f"{name}: no example in its docstring"
    assert doctest.DocTestRunner().run(example).failed == 0


def test_importing_the_package_imports_nothing_heavy():
    script = "import sys, convnova; sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_a_name_that_is_not_there_is_an_attribute_error_with_those_that_are():
    with pytest.raises(AttributeError, match="embeddd.*encode"):
        convnova.embeddd  # noqa: B018
