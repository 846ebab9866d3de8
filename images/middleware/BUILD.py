from enginewright import image, python_layer

python_layer(name="packages", requirements="requirements.txt", python="3.11")
image(name="middleware", base="images/base:base", layers=[":packages"])
