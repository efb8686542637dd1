"""Patients of the PhysioNet/CinC Challenge 2012 as series: one NPZ file from an archive of records.

    python recipes/classification/prepare_physionet.py data/physionet2012/set-a.tar.xz \\
        data/physionet2012/Outcomes-a.txt.gz data/physionet2012/set-a.npz

A record is a text file, "Time,Parameter,Value" in each line. Times become hours. What was measured
more than once in a minute is averaged. Age, gender, height, weight at admission and the kind of
intensive care unit (four columns of 0 and 1) belong to the whole series; -1 means unknown. The
label is In-hospital_death. Without outcomes ("-" in their place) the file has no labels.
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

STATIC = ["Age", "Gender", "Height", "Weight"]
UNITS = 4  # kinds of intensive care unit, 1 to 4
FEATURES = (
    "ALP ALT AST Albumin BUN Bilirubin Cholesterol Creatinine DiasABP FiO2 GCS Glucose HCO3 HCT "
    "HR K Lactate MAP MechVent Mg NIDiasABP NIMAP NISysABP Na PaCO2 PaO2 Platelets RespRate SaO2 "
    "SysABP Temp TroponinI TroponinT Urine WBC Weight pH"
).split()


def records(path: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of each record of an archive or a folder, by name."""
    if path.is_dir():
        for file in sorted(path.glob("*.txt")):
            yield file.stem, file.read_text()
        return
    with tarfile.open(path) as archive:
        members = [one for one in archive.getmembers() if one.name.endswith(".txt")]
        for member in sorted(members, key=lambda one: one.name):
            stream = archive.extractfile(member)
            assert stream is not None
            yield Path(member.name).stem, stream.read().decode()


def read_record(text: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """times (T,) in hours, values (T, D), static (F,)"""
    index = {feature: n for n, feature in enumerate(FEATURES)}
    static = np.full(len(STATIC) + UNITS, np.nan)
    rows: dict[int, dict[int, list[float]]] = {}
    for number, line in enumerate(text.splitlines()[1:], 2):
        time, parameter, value = line.split(",")
        if not parameter or not value:
            continue
        hours, minutes = map(int, time.split(":"))
        minute, amount = 60 * hours + minutes, float(value)
        if minute == 0 and parameter in STATIC:
            static[STATIC.index(parameter)] = amount if amount >= 0 else np.nan
        if parameter == "ICUType":
            static[len(STATIC) :] = [amount == kind for kind in range(1, UNITS + 1)]
        elif parameter in index and amount >= 0:
            rows.setdefault(minute, {}).setdefault(index[parameter], []).append(amount)
        elif parameter not in (*index, *STATIC, "RecordID"):
            sys.exit(f"{name}, line {number}: parameter {parameter!r} is none of the challenge's")
    minutes_found = sorted(rows) or [0]  # some records hold nothing: one step, nothing measured
    values = np.full((len(minutes_found), len(FEATURES)), np.nan, np.float32)
    for step, minute in enumerate(minutes_found):
        for feature, found in rows.get(minute, {}).items():
            values[step, feature] = np.mean(found)
    return np.array(minutes_found) / 60, values, static


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    archive, outcomes, target = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    deaths: dict[str, str] = {}
    if outcomes != "-":
        raw = Path(outcomes).read_bytes()
        text = gzip.decompress(raw).decode() if outcomes.endswith(".gz") else raw.decode()
        header, *lines = [line.split(",") for line in io.StringIO(text).read().split()]
        name, death = header.index("RecordID"), header.index("In-hospital_death")
        deaths = {line[name]: line[death] for line in lines}
    names, times, values, static, labels = [], [], [], [], []
    for record, text in records(archive):
        found = read_record(text, record)
        names.append(record)
        for kept, part in zip((times, values, static), found, strict=True):
            kept.append(part)
        if deaths:
            if record not in deaths:
                sys.exit(f"{outcomes}: no outcome for record {record}")
            labels.append({"0": "survives", "1": "dies"}[deaths[record]])
    arrays = {"labels": np.array(labels)} if labels else {}
    np.savez_compressed(
        target,
        values=np.concatenate(values),
        times=np.concatenate(times),
        lengths=np.array([len(one) for one in times]),
        static=np.array(static, np.float32),
        ids=np.array(names),
        features=np.array(FEATURES),
        static_features=np.array([*STATIC, *(f"ICU{n}" for n in range(1, UNITS + 1))]),
        **arrays,
    )
    print(f"{target}: {len(names):,} patients, {sum(map(len, times)):,} times", file=sys.stderr)


if __name__ == "__main__":
    main()
