"""The findings of bench_gpu.py as one JSON object, and as a table made from that object alone."""

import math
import statistics

OURS = "ssgpt"


def of_micro_batch_and_kind(entries, entry):
    return [other for other in entries if (other.micro_batch, other.attention) == (entry.micro_batch, entry.attention)]


def fastest(entries):
    """The entry with the lowest median time per round; None if there are none."""
    measured = [entry for entry in entries if entry.mean_rounds()]
    return min(measured, key=lambda entry: statistics.median(entry.mean_rounds()), default=None)


def result_of(entry, entries):
    result = {"program": entry.program, "attention": entry.attention, "micro_batch": entry.micro_batch,
              "compiled": entry.compiled, "failure": entry.failure, "seconds_to_ready": entry.seconds_to_ready,
              "rounds": entry.rounds, "command": entry.command(), **entry.last}
    seconds = entry.mean_rounds()
    if not seconds:
        result["failure"] = entry.failure or "not measured: the time was over"
        return result
    result.update(tokens_per_second=entry.tokens / statistics.median(seconds), slowest_round=entry.tokens / max(seconds),
                  fastest_round=entry.tokens / min(seconds))
    alike = of_micro_batch_and_kind(entries, entry)
    ours = next((other for other in alike if other.program == OURS), None)
    if ours is not None and ours is not entry:
        result["time_over_ssgpt"] = entry.ratio_over(ours)
    softmax = next((other for other in entries if (other.micro_batch, other.program, other.attention)
                    == (entry.micro_batch, entry.program, "softmax")), None)
    if entry.attention == "ssmax" and softmax is not None:
        result["time_over_softmax"] = entry.ratio_over(softmax)
    result["best_compiled"] = entry is fastest([other for other in alike if other.compiled])
    return result


def report_of(entries, groups, arguments, device):
    """All figures, which is all that the table needs. Infinite and absent values are null."""
    results = [result_of(entry, entries) for entry in entries]
    finite = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in device.items()}
    return {"device": finite, "shape": arguments.shape, **entries[0].shape,
            "dtype": "bfloat16" if arguments.device == "cuda" else "float32", "rounds": arguments.rounds,
            "turn_seconds": arguments.turn_seconds, "groups": groups, "results": results}


def interval(ratio):
    if ratio is None:
        return "", ""
    known = ratio["low"] is not None
    return f"{ratio['ratio']:.3f}", f"{ratio['low']:.3f} to {ratio['high']:.3f}" if known else ""


def row(result):
    name = ("* " if result.get("best_compiled") else "  ") + result["program"]
    head = f"{result['micro_batch']:4} {result['attention']:8} {name:30}"
    if "tokens_per_second" not in result:
        return f"{head} {result['failure']}"
    rounds = f"{result['slowest_round']:.0f} to {result['fastest_round']:.0f}"
    ours, ours_interval = interval(result.get("time_over_ssgpt"))
    softmax, softmax_interval = interval(result.get("time_over_softmax"))
    peak = result.get("device_peak_bytes", result["peak_bytes"]) / (1 << 30)
    later = f"  then {result['failure']}" if result["failure"] else ""
    return (f"{head} {result['tokens_per_second']:9.0f} {rounds:>18} {ours:>8} {ours_interval:>15} "
            f"{softmax:>9} {softmax_interval:>15} {peak:7.2f}{later}")


def summary(report):
    """The fastest program of each side over all micro-batch sizes; not paired, since they come from different
    groups."""
    lines = []
    for attention in dict.fromkeys(result["attention"] for result in report["results"]):
        best = {}
        for result in report["results"]:
            side = "ssgpt" if result["program"] == OURS else "PyTorch compiled" if result["compiled"] else "PyTorch eager"
            speed = result.get("tokens_per_second", 0.0)
            if result["attention"] == attention and speed > best.get(side, {}).get("tokens_per_second", 0.0):
                best[side] = result
        if best:
            lines.append(f"Fastest with {attention}: " + "; ".join(
                f"{side} {found['tokens_per_second']:.0f} tokens/s at {found['micro_batch']}" for side, found in best.items()))
    return lines


def table(report):
    device = report["device"]
    memory = f", {device['total_bytes'] / (1 << 30):.0f} GiB" if device["total_bytes"] else ""
    versions = f"; PyTorch {device['torch']}, CUDA {device['cuda']}, cuDNN {device['cudnn']}" if "torch" in device else ""
    lines = [f"{device['name']}{memory}{versions}",
             f"{report['shape']}: T = {report['time']}, vocabulary {report['vocab']}, hidden {report['hidden']}, "
             f"{report['layers']} layers, {report['dtype']}; {report['rounds']} rounds, turns of about "
             f"{report['turn_seconds']:g} s",
             f"{'B':>4} {'':8} {'':30} {'tokens/s':>9} {'rounds':>18} {'/ ssgpt':>8} {'95 % interval':>15} {'/ softmax':>9} "
             f"{'95 % interval':>15} {'GiB':>7}"]
    lines += [row(result) for result in report["results"]]
    lines += ["B: sequences per micro-batch, one micro-batch per step. / ssgpt, / softmax: time over that of ssgpt, of Softmax,",
              "paired by round; above 1 is slower. *: the fastest compiled PyTorch of the row's B and attention. GiB: peak of",
              "device memory (of resident memory on a CPU).", *summary(report), "Alive together:"]
    for group in report["groups"]:
        lines.append(f"  {group['alive']}" + ("" if group["measured"] else " (not measured: the time was over)"))
    return "\n".join(lines)
