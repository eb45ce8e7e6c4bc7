// What ImageJ finds in ROI zips and images that are given by path, as lines of cells.
import ij.ImagePlus;
import ij.gui.Roi;
import ij.io.Opener;
import ij.io.RoiDecoder;
import ij.measure.Calibration;
import ij.process.ByteProcessor;
import java.awt.Rectangle;
import java.io.FileInputStream;
import java.io.PrintStream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;

public class ImageJProbe {
  private static PrintStream out;

  public static void main(String[] paths) throws Exception {
    out = new PrintStream(System.out, true, "UTF-8");
    for (String path : paths) {
      if (path.endsWith(".zip")) rois(path); else image(path);
    }
  }

  private static void rois(String path) throws Exception {
    try (ZipInputStream in = new ZipInputStream(new FileInputStream(path))) {
      for (ZipEntry entry; (entry = in.getNextEntry()) != null; ) {
        Roi roi = new RoiDecoder(in.readAllBytes(), entry.getName()).getRoi();
        Rectangle box = roi.getBounds();
        ByteProcessor drawn = new ByteProcessor(box.x + box.width + 2, box.y + box.height + 2);
        drawn.setColor(255);
        drawn.fill(roi);
        row("roi", roi.getName(), box.x, box.y, box.width, box.height,
            drawn.getHistogram()[255], roi.getProperty("class"));
      }
    }
  }

  private static void image(String path) {
    ImagePlus image = new Opener().openImage(path);
    if (image == null) { row("unreadable"); return; }
    Calibration size = image.getCalibration();
    double sum = 0, highest = 0;
    for (int i = 0; i < image.getProcessor().getPixelCount(); i++) {
      sum += image.getProcessor().getf(i);
      highest = Math.max(highest, image.getProcessor().getf(i));
    }
    row("image", image.getWidth(), image.getHeight(), image.getBitDepth(), (long) sum,
        (long) highest, size.pixelWidth, size.pixelHeight, size.getUnit());
  }

  private static void row(Object... cells) {
    StringBuilder line = new StringBuilder();
    for (Object cell : cells) line.append(cell).append('\t');
    out.println(line.toString().trim());
  }
}
