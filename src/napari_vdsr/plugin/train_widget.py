from magicgui.widgets import Container


class TrainWidget(Container): ...
