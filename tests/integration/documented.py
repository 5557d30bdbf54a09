"""What README.md and the pages of docs/ tell a reader to type: their blocks, and who runs what the tests of the pages do not."""

import re

from conftest import ROOT

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "data/README.md", ROOT / "src/README.md", ROOT / "CONTRIBUTING.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
INTEGRATION = "tests/integration"

# Commands that the tests of the pages leave out, by how they begin; a file that runs them, and words in it that do.
RUN_ELSEWHERE = {
    "scripts/quickstart.sh": (f"{INTEGRATION}/made_quickstart.py", '"scripts/quickstart.sh"'),
    "scripts/test.sh": (".ci/run", "/scripts/test.sh"),
    "scripts/build.sh release ssgpt": ("scripts/quickstart.sh", "scripts/build.sh release ssgpt\n"),
    "scripts/bundle.sh --archive": (f"{INTEGRATION}/test_archive.py", '"scripts/bundle.sh", "--archive"'),
    "scripts/bundle.sh build/bundle": (f"{INTEGRATION}/test_bundle.py", 'ROOT / "scripts/bundle.sh", made'),
    "SSGPT_PYTHON=/path/to/venv/bin/python ssgpt/run.sh train": (f"{INTEGRATION}/test_bundle.py", "def test_it_trains_as_the_built_program_does("),
    "SSGPT_PYTHON=/path/to/venv/bin/python ssgpt/scripts/gpu_check.sh": (f"{INTEGRATION}/test_gpu_check.py", "def test_the_program_itself_without_a_gpu("),
    "scripts/gpu_check.sh results": (f"{INTEGRATION}/test_gpu_check.py", "def test_the_program_itself_without_a_gpu("),
    "sbatch --nodes=16 scripts/slurm/train.sbatch": (f"{INTEGRATION}/test_slurm_script.py", "def test_the_first_node_serves_the_store_on_a_port_of_the_job("),
    "sha256sum -c ssgpt": (f"{INTEGRATION}/test_archive.py", "def test_the_steps_of_the_documentation_install_it("),
    "tar -xf ssgpt": (f"{INTEGRATION}/test_archive.py", "def test_the_steps_of_the_documentation_install_it("),
    "python3 -m venv env": (f"{INTEGRATION}/test_archive.py", "def test_the_steps_of_the_documentation_install_it("),
    "SSGPT_PYTHON=env/bin/python": (f"{INTEGRATION}/test_archive.py", "def test_the_steps_of_the_documentation_install_it("),
    'ln -s "$PWD/ssgpt': (f"{INTEGRATION}/test_archive.py", "def test_the_steps_of_the_documentation_install_it("),
    "cmake --install build/release": (f"{INTEGRATION}/test_install.py", "def test_the_installed_program_runs_from_another_folder("),
    "build/release/ssgpt ": (f"{INTEGRATION}/test_reproduction.py", "def test_the_published_commands_are_those_of_the_plan("),
    "git apply root.diff": (f"{INTEGRATION}/test_your_own_attention.py", "def test_the_example_builds_trains_and_equals_transformers("),
    "build/release/ssgpt train --config configs/quickstart/base.yaml --set model.attention.kind=ssmax_root": (f"{INTEGRATION}/test_your_own_attention.py", "def test_the_example_builds_trains_and_equals_transformers("),
}
# The same for the first column of the table of CONTRIBUTING.md.
CHECKS = {
    "cmake --install build/release --prefix": RUN_ELSEWHERE["cmake --install build/release"],
    "scripts/bundle.sh --archive": RUN_ELSEWHERE["scripts/bundle.sh --archive"],
    "scripts/test.sh": RUN_ELSEWHERE["scripts/test.sh"],
    "scripts/gpu_check.sh results": RUN_ELSEWHERE["scripts/gpu_check.sh results"],
    "scripts/setup.sh": ("scripts/test.sh", "scripts/setup.sh\n"),
    "scripts/build.sh [": ("scripts/test.sh", "scripts/build.sh ci\n"),
    "scripts/build.sh asan": ("CMakePresets.json", '{"name": "asan", "configurePreset"'),
    "ctest --test-dir build/release": ("scripts/test.sh", "ctest --test-dir build/release"),
    "build/release/tests/unit/kernels/ssgpt_kernels_tests --gtest_filter='*Rope*'": ("tests/unit/kernels/rope_test.cpp", "TEST_P(Rope, "),
    "SSGPT_BIN=$PWD/build/release/ssgpt .venv/bin/python -m pytest": ("scripts/test.sh", "-m pytest -p no:cacheprovider -n"),
    "SSGPT_FAULTS=200 SSGPT_KILLS=30": (f"{INTEGRATION}/test_fault_campaign.py", 'get("SSGPT_KILLS"'),
    "SSGPT_MUTANTS=5000": (f"{INTEGRATION}/test_mutated_files.py", 'get("SSGPT_MUTANTS"'),
    "ssgpt bench kernels --filter swiglu": (f"{INTEGRATION}/test_bench.py", "def test_operations_are_named_by_a_filter("),
    "ssgpt bench step": (f"{INTEGRATION}/test_bench.py", "def test_a_step_is_reported_as_a_table_and_as_json("),
    "build/release/tests/cuda/ssgpt_cuda_tests": ("scripts/gpu_check.sh", "ssgpt_cuda_tests"),
    ".venv/bin/python scripts/kernel_resources.py": (f"{INTEGRATION}/test_kernel_resources.py", 'ROOT / "scripts/kernel_resources.py"'),
}


def blocks(page, language):
    """The blocks of a page in this language."""
    return [match[2] for match in BLOCK.finditer(page.read_text()) if match[1] == language]


def commands_of(block):
    """The lines of a shell block, continued ones as one, without comments that are lines of their own."""
    lines = block.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def runs_elsewhere(command):
    return any(command.startswith(beginning) for beginning in RUN_ELSEWHERE)
