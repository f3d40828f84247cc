"""What a node tells Prometheus, read as Prometheus would."""

from __future__ import annotations

import aiohttp
from prometheus_client.parser import text_string_to_metric_families


async def scrape(http_url: str) -> dict[str, float]:
    """Return the samples of a node without labels, by name."""
    async with aiohttp.ClientSession() as session, session.get(f"{http_url}/metrics") as answer:
        assert answer.status == 200, await answer.text()
        text = await answer.text()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }
