# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where a test fits tables by the dozen, signatures go unchecked: that took half of its time."""

import jaxtyping
import pytest

FITTED_BY_THE_DOZEN = (
    "test_law_kinds",
    "test_law_document",
    "test_law_broken",
    "test_law_design",
    "test_law_hyper",
)


@pytest.fixture(autouse=True, scope="module")
def unchecked_signatures(request):
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", request.path.stem in FITTED_BY_THE_DOZEN)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
