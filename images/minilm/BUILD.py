from enginewright import model_image

model_image(name="image", engines="models/minilm:engine")
