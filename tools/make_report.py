"""Result files on one HTML page: the same as nvc-jax report."""

from nvc_jax.evaluation.report_command import main

if __name__ == "__main__":
    raise SystemExit(main(prog="make_report.py"))
