# `make demo` and `make test` need only Python ≥ 3.11 and make.
PYTHON ?= python3
DEMO = .venv-demo
DEV = .venv

.PHONY: demo test lint clean

demo: $(DEMO)/ready
	$(DEMO)/bin/fankui tag data/examples/feedback.csv -o build/feedback.tagged.xlsx --overwrite
	@$(DEMO)/bin/fankui classify "说好三天到货,十天了还没发,问客服也不理人,再也不买了" "师傅上门很快,讲得也清楚,下次还找你们"

test: $(DEV)/ready
	$(DEV)/bin/python -m pytest

lint: $(DEV)/ready
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

# The runtime alone: no torch, no server to install.
$(DEMO)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@mkdir -p build && touch $@

$(DEV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train,dev]"
	@touch $@

clean:
	rm -rf $(DEMO) $(DEV) build
