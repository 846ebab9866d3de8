from enginewright import model_image

model_image(name="image", engines="models/efficientnet_lite0:engine")
