"""SageMaker endpoints: deployments, and the instances behind them."""
