"""The comparison on a GPU, as far as it goes without one: options, tables, and the count."""

import json
import sys
from pathlib import Path

import pytest
from numba import config

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import floor, gpu, gpu_tables, sass

# A loop as nvdisasm prints it: a division's slow path, a loop within the loop, a barrier.
DISASSEMBLY = """
        /*0000*/                   S2R R0, SR_TID.X ;
.L_x_1:
        /*0010*/                   LDS.128 R4, [R0] ;
.L_x_2:
        /*0020*/                   LDG.E R8, desc[UR4][R2.64] ;
        /*0030*/                   FFMA R9, R8, R4, R9 ;
        /*0040*/                   FFMA R9, R8, R5, R9 ;
        /*0050*/               @P1 BRA `(.L_x_2) ;
        /*0060*/                   MUFU.RCP R10, R9 ;
        /*0070*/              @!P2 BRA `(.L_x_3) ;
        /*0080*/                   CALL.REL.NOINC `($__internal_0_$__slowpath) ;
.L_x_3:
        /*0090*/                   ISETP.GE.U32.AND P2, PT, R9, R10, PT ;
        /*00a0*/                   IADD3 R12, P3, R9, R10, RZ ;
        /*00b0*/                   STS [R0], R10 ;
        /*00c0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*00d0*/              @!P0 BRA `(.L_x_1) ;
        /*00e0*/                   EXIT ;
$__internal_0_$__slowpath:
        /*00f0*/                   RET.REL.NODEC R62 `(kernel) ;
"""


def answers(ours, torch, tf32):
    case = (64, 100, 16, 64)
    rounds = {"ours": ours, "torch": torch, "tf32": tf32}
    return {
        case: {
            name: [{"caller": ms / 1e3, "device": ms / 2e3, "forward": 1e-4} for ms in found]
            for name, found in rounds.items()
        }
    }


def test_the_table_has_medians_and_says_what_is_lost(capsys, monkeypatch):
    monkeypatch.setattr(gpu_tables, "RED", "<red>")
    monkeypatch.setattr(gpu_tables, "PLAIN", "</red>")
    rows = gpu_tables.summarise(
        answers([1, 2, 9], [4, 4, 9], [1, 1, 1]), {(64, 100, 16, 64): 5e-5}
    )
    row = rows[64, 100, 16, 64]
    assert row["ratio"] == pytest.approx(2)
    assert row["ratio_tf32"] == pytest.approx(0.5)
    assert row["spread"] == pytest.approx((1, 4))
    assert gpu_tables.table("A title", rows) == pytest.approx(2)
    line = capsys.readouterr().out.splitlines()[-2]
    assert line.startswith("<red>64, 100, 16, 64")
    assert "2.000 (1.000)" in line
    assert line.split()[-2:] == ["1.00", "0.50</red>"]  # microseconds of a time step
    won = gpu_tables.summarise(answers([1], [4], [2]), {})
    gpu_tables.table("A title", won)
    assert "<red>" not in capsys.readouterr().out


def test_the_table_without_torch(capsys):
    rows = gpu_tables.summarise(answers([1], [], []), {})
    assert gpu_tables.table("A title", rows) is None
    assert "64, 100, 16, 64" in capsys.readouterr().out


def test_options():
    options = gpu.parse([])
    assert options.cases == gpu.CASES
    assert gpu.parse(["--quick"]).cases == gpu.QUICK
    assert gpu.parse(["--quick", "--check"]).cases == gpu.CASES
    assert gpu.parse(["--shape", "3,2,1,4", "--shape", "1,1,1,1"]).cases == [
        (3, 2, 1, 4),
        (1, 1, 1, 1),
    ]
    for wrong in ("3,2,1", "0,1,1,1", "a,b,c,d"):
        with pytest.raises(SystemExit):
            gpu.parse(["--shape", wrong])
    assert gpu.parse([]).precision == "float32"
    assert gpu.parse(["--precision", "bf16"]).precision == "bf16"


@pytest.mark.skipif(config.ENABLE_CUDASIM, reason="the simulator is a GPU, of a kind")
def test_what_is_missing_is_said(monkeypatch):
    from numba_lstm.cuda import device

    monkeypatch.setattr(device, "why_not", lambda: "it is not here")
    with pytest.raises(SystemExit, match=r"it is not here.*--count needs none"):
        gpu.main([])
    monkeypatch.setattr(device, "why_not", lambda: None)
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"PyTorch is not installed.*--alone"):
        gpu.main([])
    assert gpu.missing(gpu.parse(["--alone"])) is None
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(gpu, "once", lambda code: False)
    with pytest.raises(SystemExit, match="PyTorch finds no GPU"):
        gpu.main([])


def test_the_loop_is_found_and_counted():
    loop = sass.time_loop(DISASSEMBLY, lambda ffma: 6 // ffma)
    names = [one.name for one in loop]
    inner = ["LDG", "FFMA", "FFMA", "BRA"]
    assert names == ["LDS", *inner * 3, "MUFU", "BRA", "ISETP", "IADD3", "STS", "BAR", "BRA"]
    assert loop[0].writes == ("R4", "R5", "R6", "R7")
    assert loop[1].writes == ("R8",)
    assert "R3" in loop[1].reads  # the upper half of an address
    by_name = {one.name: one for one in loop}
    assert by_name["ISETP"].writes == ("P2",)
    assert by_name["IADD3"].writes == ("R12", "P3")
    assert by_name["STS"].reads == ("R0", "R10")
    found = floor.count(loop, 6)
    assert found.by_pipe["multiply-add"] == 6
    assert found.by_pipe["integer"] == 2
    assert (found.shared_bytes, found.loaded_bytes) == (32 * 20, 3 * 128)
    busy = floor.clocks(found, 8)
    assert busy["issue"] == 2 * len(loop)
    assert busy["multiply-add"] == 12
    assert busy["reciprocal"] == 16
    assert busy["shared memory"] == 8 * 5
    assert busy["caches"] == 8 * 6


def test_waiting_follows_what_depends_on_what():
    def add(to, *of):
        return sass.Instruction("FADD", (to,), of)

    chain = [add("R1", "R1")] * 10
    apart = [add(f"R{k}", f"R{k}") for k in range(10)]
    alone = floor.waiting(chain, 1) - floor._BARRIER
    assert alone == 9 * 4 + 1
    assert floor.waiting(apart, 1) - floor._BARRIER == 10
    # Four warps of one scheduler fill each other's gaps.
    assert floor.waiting(chain, 16) - floor._BARRIER == 40
    assert floor.waiting(chain, 4) - floor._BARRIER == alone


def test_blocks_side_by_side():
    def room(threads, registers, shared):
        return floor.side_by_side(sass.Code([], threads, registers, shared, 0))

    assert room(256, 128, 1000) == 2
    assert room(128, 96, 1000) == 5
    assert room(1024, 64, 0) == 1
    assert room(32, 16, 0) == 32
    assert room(64, 32, 100_000) == 2


@pytest.mark.skipif(config.ENABLE_CUDASIM, reason="the simulator has no machine code")
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_the_count_of_the_kernels(precision, capsys, tmp_path):
    pytest.importorskip("numba_cuda")
    options = ["--shape", "8,10,2,16", "--precision", precision]
    try:
        gpu.main(["--count", *options, "--json", str(tmp_path / "count.json")])
    except SystemExit as error:
        pytest.skip(str(error))
    found = json.loads((tmp_path / "count.json").read_text())["count"]["(8, 10, 2, 16)"]
    assert "8, 10, 2, 16" in capsys.readouterr().out
    for name in ("predict", "forward", "backward"):
        assert found[name]["spilled"] == 0
        assert 0 < found[name]["step"] < found[name]["waiting"] < 1e-5
        by_pipe = found[name]["by_pipe"]
        # Of each four inputs' weights, and of the gates' functions.
        assert by_pipe["multiply-add"] > 4 * 4
        if precision == "float32":
            assert "tensor cores" not in by_pipe
            continue
        # Forward two tiles of 19 numbers; backward half of 64. What is padded goes along.
        depth = {"tf32": 8, "bf16": 16}[precision]
        products = -(-32 // depth) if name == "backward" else 2 * -(-19 // depth)
        assert by_pipe["tensor cores"] == products
