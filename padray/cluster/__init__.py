"""The Ray layer: it spreads units over machines and holds no formula. The only folder that imports Ray;
imports everything but the command line."""
