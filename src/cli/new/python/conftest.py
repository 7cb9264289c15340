# The fixture `simulation` of the package in agentry/.
pytest_plugins = ["agentry.pytest_plugin"]
