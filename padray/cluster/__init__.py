"""The Ray layer, the only folder that imports Ray: it spreads units over machines and holds no formula."""
