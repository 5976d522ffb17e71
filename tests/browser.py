"""A visitor of the page of `mer_jax.demo` in headless Chromium.

    python tests/browser.py ADDRESS PICTURE.png

takes the first example of the page at an address, has it answered, and keeps a picture of the
window, as in docs/demo.png.
"""

import contextlib
import io
import json
import pathlib
import shutil
import sys
import tempfile

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run '
    '--disable-background-networking --disable-component-update --disable-sync'
).split()
SIZE = {'width': 1280, 'height': 900, 'deviceScaleFactor': 1, 'mobile': False}
PATIENCE = 60  # seconds


class Visitor:
    """The page in a browser, and the steps of a visitor."""

    def __init__(self, driver: webdriver.Chrome):
        self.driver = driver
        # The page may replace an element between the search for it and its use.
        self.wait = WebDriverWait(driver, PATIENCE, 0.05, [StaleElementReferenceException])

    def click(self, selector: str) -> None:
        """Clicks the first element, once there is one."""
        self.wait.until(lambda driver: driver.find_element(By.CSS_SELECTOR, selector).click() or 1)

    def send(self, selector: str, keys: str) -> None:
        """Types into the first element, once there is one."""
        self.wait.until(
            lambda driver: driver.find_element(By.CSS_SELECTOR, selector).send_keys(keys) or 1
        )

    def upload(self, path) -> None:
        """Chooses a file in place of the one before, and waits until it has been sent."""
        if self.address_of_upload():
            self.click('#clip [aria-label="Clear"]')
        self.send('#clip input[type=file]', str(path))
        self.wait.until(lambda _: pathlib.Path(path).stem in self.address_of_upload())

    def take_example(self) -> None:
        """Chooses the first example."""
        before = self.address_of_upload()
        self.click('.gallery-item')
        self.wait.until(lambda _: self.address_of_upload() not in ('', before))

    def answer(self) -> str:
        """The text of the answers, or of the message in place of them; unlike the one before."""
        before = self.text()
        self.click('#answer')
        return self.wait.until(lambda _: (text := self.text()) != before and text)

    def text(self) -> str:
        """The text in the place of the answers; '' while the page changes it."""
        return self.ask("document.querySelector('#answers .mer')?.innerText")

    def address_of_upload(self) -> str:
        """The address of the file that is chosen; '' without one."""
        return self.ask("document.querySelector('#clip a[href]')?.href")

    def ask(self, expression: str) -> str:
        """The value of an expression in the page, read at once; '' without one."""
        return self.driver.execute_script(f"return {expression} ?? ''")

    def title(self) -> str:
        """The title of the page."""
        return self.driver.title

    def asked_elsewhere(self, address: str) -> list[str]:
        """The addresses that the page has asked besides its own server."""
        sent = [
            json.loads(line['message'])['message'] for line in self.driver.get_log('performance')
        ]
        asked = [one for one in sent if one['method'] == 'Network.requestWillBeSent']
        found = {
            one['params']['request']['url']
            for one in asked
            if one['params']['documentURL'].startswith(address)
        }
        return sorted(url for url in found if not url.startswith((address, 'data:', 'blob:')))


@contextlib.contextmanager
def opened(address: str, profile):
    """A visitor who has opened the page at an address, with a new profile of the browser."""
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f'--user-data-dir={profile}'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL'})
    # Both programs are named, so that Selenium looks for none on the network.
    options.binary_location = shutil.which('chromium')
    service = webdriver.ChromeService(shutil.which('chromedriver'))
    driver = webdriver.Chrome(options, service)
    try:
        driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', SIZE)
        driver.get(address)
        visitor = Visitor(driver)
        visitor.wait.until(lambda _: visitor.text())
        yield visitor
    finally:
        driver.quit()


def main() -> None:
    address, picture = sys.argv[1:]
    with tempfile.TemporaryDirectory() as profile, opened(address, profile) as visitor:
        visitor.take_example()
        print(visitor.answer())
        shown = Image.open(io.BytesIO(visitor.driver.get_screenshot_as_png()))
        shown.convert('RGB').quantize(256).save(picture, optimize=True)


if __name__ == '__main__':
    main()
