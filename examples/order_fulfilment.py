"""Order fulfilment: charge, ship, confirm; each order once, whatever instant the program is killed at.

    orders/<id>/payment.json      proof that the customer was charged
    orders/<id>/shipped.json      proof that the parcel left
    orders/<id>/email_sent.json   proof that the customer was told

Kill it (`kill -9`, or `--kill-after 1`, which does that to itself) and run the same command again. Nothing was
saved on the way down and nothing is loaded on the way up: every order is submitted again, and what has its proof
is skipped.

**Who guarantees what.** Be suspicious of anything that promises "exactly once" by itself. Between the moment a
card is charged and the moment the proof is on disk there is a gap that no scheduler, database or write-ahead log
on this side can close: killed inside it, the next run finds no proof and charges again. So:

- runcue gives *at least once*: in one run each work unit settles once; after a crash, work without proof runs again.
- The proofs keep "again" rare: only work units caught inside the gap are repeated.
- The payment provider makes the repetition harmless. Each charge carries an idempotency key, derived from the
  order and never from the attempt; a key that the provider has seen returns the former transaction. `Bank` below
  is such a provider, in this process only so that the example needs no server: its ledger is appended to and
  flushed to disk before a charge is acknowledged, and it knows nothing of runcue or of the proofs.
- Mail has no such provider: SMTP delivers a repeated message twice. So sending is made one atomic act on this
  side. The message is written to a temporary file and linked into the outbox under its Message-ID, again derived
  from the order; the link is there or it is not, and a second link under that name is refused by the file system.
  Whatever takes mail out of the outbox (an MTA's queue, a mail service that knows idempotency keys) takes over
  the guarantee from there.
- Shipping needs nothing of the kind: the label *is* the act, so act and proof are one rename.

The flushes make this hold for a power cut as well, as far as the disk keeps its word.

    python examples/order_fulfilment.py --orders 200 --payment-rate 100/sec --email-rate 50/sec --kill-after 1
    python examples/order_fulfilment.py --orders 200 --payment-rate 100/sec --email-rate 50/sec
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import signal
import sys
import threading
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import runcue

try:
    import fcntl
except ImportError:  # Windows: two runs at once on one folder are then on their own
    fcntl = None  # type: ignore[assignment]


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and return only when its bytes are on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make a rename or link inside the folder survive a power cut. Windows does that without being asked."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Bank:
    """The payment provider: an append-only ledger that charges each idempotency key once.

    Args:
        folder: Where `ledger.jsonl` lives, one transaction per line.
        latency: Seconds a request travels, each way. The way back is the gap in which a kill hurts.
    """

    def __init__(self, folder: Path, latency: float = 0.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ledger = folder / "ledger.jsonl"
        self._latency = latency
        self._lock = threading.Lock()
        self._transactions: dict[str, dict[str, Any]] = {}
        self._read_to = 0

    def charge(self, key: str, customer: str, cents: int) -> dict[str, Any]:
        """Charge the customer, or return the former transaction when the key was used before.

        Returns:
            The transaction. Its field `replayed` says whether the charge had been made by an earlier request.
        """
        time.sleep(self._latency)
        # Looking up and appending is one step, against threads by the lock, against another process by the flock.
        with self._lock, self.ledger.open("ab+", buffering=0) as ledger:  # "a" is O_APPEND
            if fcntl is not None:
                fcntl.flock(ledger, fcntl.LOCK_EX)  # given back by close(), and by the kernel at a kill
            self._read_new_lines(ledger.fileno())
            replayed = key in self._transactions
            if not replayed:
                transaction = {
                    "key": key,
                    "transaction": f"tx-{len(self._transactions) + 1:06}",
                    "customer": customer,
                    "cents": cents,
                }
                line = (json.dumps(transaction) + "\n").encode()
                ledger.write(line)
                os.fsync(ledger.fileno())
                self._transactions[key] = transaction
                self._read_to += len(line)
            answer = {**self._transactions[key], "replayed": replayed}
        time.sleep(self._latency)
        return answer

    def transactions(self) -> dict[str, dict[str, Any]]:
        """Return every transaction in the ledger, by idempotency key."""
        with self._lock, self.ledger.open("ab+", buffering=0) as ledger:
            self._read_new_lines(ledger.fileno())
            return dict(self._transactions)

    def _read_new_lines(self, ledger: int) -> None:
        """Take in what others appended, and cut off a torn last line.

        A line without its end was never acknowledged to anyone, so cutting it loses no charge; leaving it would glue
        the next transaction to it and lose that one.
        """
        size = os.fstat(ledger).st_size
        os.lseek(ledger, self._read_to, os.SEEK_SET)
        new = b""
        while len(new) < size - self._read_to:
            new += os.read(ledger, size - self._read_to - len(new))
        whole = new[: new.rfind(b"\n") + 1]
        for line in whole.splitlines():
            transaction = json.loads(line)
            self._transactions[transaction["key"]] = transaction
        self._read_to += len(whole)
        if len(whole) < len(new):
            os.ftruncate(ledger, self._read_to)


class Outbox:
    """Mail that was sent: one file per Message-ID, there or not there.

    Args:
        folder: Where the `.eml` files appear. Half-written ones live in `folder/tmp`.
        latency: Seconds a request travels, each way.
    """

    def __init__(self, folder: Path, latency: float = 0.0) -> None:
        self.folder = folder
        self._tmp = folder / "tmp"
        self._tmp.mkdir(parents=True, exist_ok=True)
        self._latency = latency

    def send(self, message: EmailMessage) -> bool:
        """Send the message unless one with its Message-ID was sent before.

        Returns:
            Whether this call sent it.
        """
        time.sleep(self._latency)
        name = message["Message-ID"].strip("<>") + ".eml"
        tmp = self._tmp / name
        # A run killed between the link and the unlink below left this name on the sent mail itself; writing through it
        # would rewrite mail that is already out.
        tmp.unlink(missing_ok=True)
        write_durably(tmp, message.as_bytes())
        try:
            os.link(tmp, self.folder / name)  # the act of sending: atomic, and refused the second time
            sent = True
        except FileExistsError:
            sent = False
        flush_folder(self.folder)
        tmp.unlink(missing_ok=True)
        time.sleep(self._latency)
        return sent


class Shop:
    """The orders and their proofs on disk. It knows nothing of runcue.

    Args:
        folder: Where `orders/`, `bank/` and `outbox/` live.
        latency: Passed on to the bank and the outbox.
    """

    def __init__(self, folder: Path, latency: float = 0.0) -> None:
        self._orders = folder / "orders"
        self._orders.mkdir(parents=True, exist_ok=True)
        self.bank = Bank(folder / "bank", latency)
        self.outbox = Outbox(folder / "outbox", latency)

    def proof(self, order: str, name: str) -> Path:
        return self._orders / order / name


DAY = 24 * 60 * 60
TASKS = ("charge_payment", "ship", "send_confirmation")


def fulfilment_cue(shop: Shop, *, payment_rate: str = "100/min", email_rate: str = "50/min") -> runcue.Cue:
    """Build the cue: three services, three tasks with the proof that each needs and leaves.

    `fresh=None`: a proof that is there counts, whatever the dates of files say. Orders that come back from a backup
    with the time of the restoration must not be charged and mailed once more.

    Raises:
        ValueError: A rate is not of the form that runcue knows.
    """
    cue = runcue.Cue()
    cue.service("payment", rate=payment_rate, concurrent=4)
    cue.service("warehouse", concurrent=3)
    cue.service("email", rate=email_rate, concurrent=4)

    def paid(work: runcue.Work) -> Path:
        return shop.proof(work.params["order"], "payment.json")

    def shipped(work: runcue.Work) -> Path:
        return shop.proof(work.params["order"], "shipped.json")

    def mailed(work: runcue.Work) -> Path:
        return shop.proof(work.params["order"], "email_sent.json")

    def prove(work: runcue.Work, content: dict[str, Any]) -> None:
        """Leave the proof: once the handler has returned it is on the disk, whole, or there is none."""
        with work.write(work.outputs[0]) as file:
            json.dump(content, file, indent=2)

    @cue.task("charge_payment", uses="payment", outputs=paid, fresh=None)
    def charge_payment(work: runcue.Work) -> str:
        key = f"charge-{work.params['order']}"
        answer = shop.bank.charge(key, work.params["customer"], work.params["cents"])
        prove(work, answer)
        if answer["replayed"]:
            return (
                f"{answer['transaction']}, charged by a run that was killed: the bank returned the former one"
            )
        return str(answer["transaction"])

    @cue.task("ship", uses="warehouse", inputs=paid, outputs=shipped, fresh=None)
    def ship(work: runcue.Work) -> str:
        order = work.params["order"]
        tracking = "RC" + hashlib.sha256(order.encode()).hexdigest()[:10].upper()
        prove(work, {"order": order, "tracking": tracking})
        return tracking

    @cue.task("send_confirmation", uses="email", inputs=shipped, outputs=mailed, fresh=None)
    def send_confirmation(work: runcue.Work) -> str:
        order, customer = work.params["order"], work.params["customer"]
        tracking = json.loads(shipped(work).read_text())["tracking"]
        message = EmailMessage()
        message["Message-ID"] = f"<confirmation-{order}@shop.example>"
        message["From"], message["To"] = "orders@shop.example", customer
        message["Subject"] = f"Your order {order} is on its way"
        message.set_content(f"Thank you. The parcel's tracking number is {tracking}.\n")
        sent = shop.outbox.send(message)
        prove(work, {"message_id": message["Message-ID"], "to": customer, "repeated": not sent})
        return "mailed" if sent else "mailed by a run that was killed: the outbox refused the second one"

    return cue


def demo_orders(count: int) -> list[dict[str, Any]]:
    """Return the same orders for the same count: a run after a crash has to mean the same customers."""
    return [
        {
            "order": f"order-{number:04}",
            "customer": f"customer{number}@mail.example",
            "cents": 990 + 37 * number,
        }
        for number in range(1, count + 1)
    ]


async def fulfil(cue: runcue.Cue, shop: Shop, orders: list[dict[str, Any]], *, quiet: bool = False) -> int:
    """Submit every step of every order, wait, report. Returns the exit code."""
    if not quiet:
        cue.on_complete(
            lambda work, result, duration: print(f"  {work.params['order']}  {work.task:<17}  {result}")
        )
    cue.on_failure(
        lambda work, error: print(
            f"order_fulfilment: {work.params['order']}: {work.task}: {error}", file=sys.stderr
        )
    )
    async with cue:
        for order in orders:
            for task in TASKS:
                await cue.submit(task, params=order)
        summary = await cue.drain()
    counts = summary.counts
    print(
        f"{len(orders)} orders: {counts['completed']} steps done, {counts['skipped']} had been done before, "
        f"{counts['failed']} failed, in {summary.duration:.1f} s"
    )
    print(
        f"  the bank's ledger holds {len(shop.bank.transactions())} charges, "
        f"the outbox {sum(1 for _ in shop.outbox.folder.glob('*.eml'))} mails"
    )
    return 0 if summary.ok else 1


def kill_this_process() -> None:
    """Do what `kill -9` does: no handler, no flush, no goodbye."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def main(argv: list[str] | None = None) -> int:
    """Read the command line and fulfil the orders. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Charge, ship and confirm orders, each once, however often this is killed and run again.",
        epilog="Try it: add --kill-after 1, then run the same command without it.",
    )
    parser.add_argument("--orders", type=int, default=20, help="how many orders (default 20)")
    parser.add_argument(
        "--payment-rate",
        default="100/min",
        metavar="RATE",
        help="what the payment provider allows (default 100/min; 100/sec for a quick look at many orders)",
    )
    parser.add_argument(
        "--email-rate",
        default="50/min",
        metavar="RATE",
        help="what the mail provider allows (default 50/min)",
    )
    parser.add_argument(
        "--latency",
        type=float,
        default=0.02,
        metavar="SECONDS",
        help="how long a request to bank or mail travels, each way (default 0.02)",
    )
    parser.add_argument(
        "--kill-after", type=float, metavar="SECONDS", help="kill -9 this very process by then"
    )
    parser.add_argument("--quiet", action="store_true", help="print the last two lines only")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/order_fulfilment"),
        help="the shop: orders, ledger, outbox (default out/order_fulfilment)",
    )
    options = parser.parse_args(argv)
    if options.orders < 1:
        parser.error("--orders must be at least 1")
    if not (0 <= options.latency <= 60 and (options.kill_after is None or 0 <= options.kill_after <= DAY)):
        parser.error("--latency must be 0 to 60 seconds, --kill-after 0 to a day")

    try:
        shop = Shop(options.out, options.latency)
    except OSError as error:
        print(f"order_fulfilment: cannot use {options.out} as the shop: {error}", file=sys.stderr)
        return 1
    try:
        cue = fulfilment_cue(shop, payment_rate=options.payment_rate, email_rate=options.email_rate)
    except ValueError as error:
        parser.error(str(error))
    if options.kill_after is not None:
        timer = threading.Timer(options.kill_after, kill_this_process)
        timer.daemon = True
        timer.start()
    try:
        return runcue.run(
            functools.partial(fulfil, cue, shop, demo_orders(options.orders), quiet=options.quiet)
        )
    except KeyboardInterrupt:
        print("order_fulfilment: interrupted; run it again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
