"""lesionlab: put lesions into brain MR images, take them out, and find them."""

__version__ = "0.1.0"
