"""The order fulfilment example: killed again and again, each order is charged and mailed once.

Real processes, real kills, real time: what is shown is what survives, so nothing here can be virtual. The kills are
aimed by what is seen on disk, not by the clock, so that they fall into the work on a fast machine and on a slow one.
"""

from __future__ import annotations

import email
import json
import random
import subprocess
import sys
import threading
import time
from email.message import EmailMessage
from pathlib import Path

import pytest

from examples.order_fulfilment import Bank, Outbox
from tests.support.programs import but_for_slowness, run_example

PROGRAM = Path(__file__).parents[2] / "examples" / "order_fulfilment.py"
ORDERS = 30
# The way back from bank and mail takes longer than a kill needs to arrive, so some kills hit the gap between act and
# proof: the one that matters.
FAST = [
    "--orders",
    str(ORDERS),
    "--payment-rate",
    "1000/sec",
    "--email-rate",
    "1000/sec",
    "--latency",
    "0.04",
]


def run_program(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_example(PROGRAM, *arguments, folder=folder)


def ledger_lines(shop: Path) -> list[str]:
    ledger = shop / "bank" / "ledger.jsonl"
    return ledger.read_text().splitlines() if ledger.exists() else []


def mails(shop: Path) -> list[Path]:
    return sorted((shop / "outbox").glob("*.eml"))


def acts(shop: Path) -> int:
    return len(ledger_lines(shop)) + len(mails(shop))


def kill_when(process: subprocess.Popen[str], shop: Path, reached: int, delay: float) -> None:
    """Send SIGKILL once so many charges and mails were made, and a moment later than that."""
    deadline = time.monotonic() + 30
    while acts(shop) < reached and process.poll() is None:
        assert time.monotonic() < deadline, f"only {acts(shop)} of {reached} acts in 30 s"
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()


def test_orders_killed_at_any_instant_are_charged_once_and_mailed_once(tmp_path: Path) -> None:
    rng = random.Random(20)
    shop = tmp_path / "out" / "order_fulfilment"
    kills = 0
    target = 0
    while (target := target + rng.randint(4, 12)) < 2 * ORDERS:
        with subprocess.Popen(
            [sys.executable, PROGRAM, *FAST],
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            kill_when(process, shop, target, rng.uniform(0, 0.03))
            _, errors = process.communicate(timeout=30)
        assert but_for_slowness(errors) == ""
        kills += process.returncode != 0
        target = max(target, acts(shop))
    assert kills >= 3

    done = run_program(*FAST, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"ledger holds {ORDERS} charges, the outbox {ORDERS} mails" in done.stdout

    orders = {f"order-{number:04}" for number in range(1, ORDERS + 1)}
    charged = [json.loads(line)["key"] for line in ledger_lines(shop)]
    assert sorted(charged) == sorted(f"charge-{order}" for order in orders)

    messages = [email.message_from_bytes(path.read_bytes()) for path in mails(shop)]
    assert {message["Message-ID"] for message in messages} == {
        f"<confirmation-{order}@shop.example>" for order in orders
    }
    assert all("tracking number is RC" in message.get_payload() for message in messages)

    proofs = {
        name: [json.loads((shop / "orders" / order / name).read_text()) for order in orders]
        for name in ("payment.json", "shipped.json", "email_sent.json")
    }
    # The claim is only tested if a kill hit the gap between act and proof, for both kinds of act.
    assert any(proof["replayed"] for proof in proofs["payment.json"])
    assert any(proof["repeated"] for proof in proofs["email_sent.json"])

    again = run_program(*FAST, folder=tmp_path)
    assert again.returncode == 0
    assert f"0 steps done, {3 * ORDERS} had been done before" in again.stdout


def test_the_program_can_kill_itself_to_show_it(tmp_path: Path) -> None:
    killed = run_program(*FAST, "--latency", "0.5", "--kill-after", "0.3", folder=tmp_path)
    assert killed.returncode != 0
    assert "orders:" not in killed.stdout


def test_an_order_that_cannot_be_done_is_named_and_holds_up_no_other(tmp_path: Path) -> None:
    orders = tmp_path / "out" / "order_fulfilment" / "orders"
    orders.mkdir(parents=True)
    (orders / "order-0002").touch()  # a file where the folder should be
    done = run_program("--orders", "3", "--quiet", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("order_fulfilment: order-0002: charge_payment: ")
    assert "Traceback" not in done.stderr
    assert "6 steps done" in done.stdout


def test_the_bank_charges_a_key_once_whoever_asks(tmp_path: Path) -> None:
    banks = [Bank(tmp_path), Bank(tmp_path)]  # two, as two processes would have
    answers: list[dict[str, object]] = []
    threads = [
        threading.Thread(target=lambda bank=bank: answers.append(bank.charge("key", "a@mail.example", 100)))
        for bank in banks * 8
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 1
    assert sorted(bool(answer["replayed"]) for answer in answers) == [False] + [True] * 15
    assert {answer["transaction"] for answer in answers} == {"tx-000001"}


def test_the_bank_cuts_off_a_torn_line_and_charges_anew(tmp_path: Path) -> None:
    Bank(tmp_path).charge("first", "a@mail.example", 100)
    ledger = tmp_path / "ledger.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + b'{"key": "second", "trans')
    bank = Bank(tmp_path)
    assert set(bank.transactions()) == {"first"}
    assert ledger.read_bytes() == whole
    assert not bank.charge("second", "b@mail.example", 200)["replayed"]
    assert set(Bank(tmp_path).transactions()) == {"first", "second"}


def test_mail_that_is_out_is_neither_sent_again_nor_rewritten(tmp_path: Path) -> None:
    message = EmailMessage()
    message["Message-ID"] = "<one@shop.example>"
    message.set_content("first")
    outbox = Outbox(tmp_path)
    assert outbox.send(message)
    sent = tmp_path / "one@shop.example.eml"
    # What a kill between the link and the unlink leaves behind: two names for the one sent mail.
    (tmp_path / "tmp" / sent.name).hardlink_to(sent)
    message.set_content("second")
    assert not outbox.send(message)
    assert sent.read_text().endswith("\n\nfirst\n")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_program_explains_itself(tmp_path: Path) -> None:
    done = run_program("--help", folder=tmp_path)
    assert done.returncode == 0
    assert "Charge, ship and confirm orders" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["--orders", "0"], ["--latency", "-1"], ["--latency", "nan"], ["--kill-after", "inf"], ["--email-rate", "0/min"],
     ["--payment-rate", "often"]],
)  # fmt: skip
def test_impossible_numbers_are_one_clear_line(arguments: list[str], tmp_path: Path) -> None:
    refused = run_program(*arguments, folder=tmp_path)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert "order_fulfilment.py: error: " in refused.stderr.splitlines()[-1]


def test_a_shop_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = run_program("--out", "file/shop", folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("order_fulfilment: cannot use file/shop as the shop")
    assert refused.stderr.count("\n") == 1
